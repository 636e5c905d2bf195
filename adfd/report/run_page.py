"""The report of a run or a sweep: one page with tables, figures, faces, and every job's command and configuration.

`write_report` reads the pictures and writes the page; `view` is a pure function that returns the page's plain data.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path

import yaml
from PIL import Image

from adfd.evaluation.jobs import Job, read_summary
from adfd.report.job_names import differing, distinct, shortened, unique_names
from adfd.report.pages import inline, picture, write_page
from adfd.report.run_faces import by_facet, finished, flags, groups
from adfd.report.run_tables import failures, left_out, run_table, sweep_tables
from adfd.report.run_view import FLAGS, UNKNOWN, Block, Facet, Output, Picture, View


def write_report(
    title: str,
    jobs: Sequence[Job],
    path: Path,
    figures: dict[str, str],
    note: str = "",
    *,
    size: int = 224,
    max_faces: int = 500,
    refresh: int = 0,
) -> None:
    """Write the page of one run, or of the jobs of a sweep, to `path`.

    `figures` maps captions to SVG text, `note` is a paragraph under the title. Faces are embedded at `size` px, at most
    `max_faces` of them; the page states how many are left out. An unreadable picture is replaced by the reason. A page
    with `refresh` reloads itself after that many seconds.
    """
    outputs = finished(jobs)
    shown = outputs[:max_faces]
    pictures = embed([file for output in shown for file in (output.source, output.anchor, output.image)], size)
    skipped = [read_skipped(job) for job in jobs]
    report = view(title, jobs, note, shown, len(outputs) - len(shown), pictures, skipped, written(jobs))
    report = replace(report, refresh=refresh)
    drawn = {caption: inline(svg) for caption, svg in figures.items()}
    write_page(path, "report.html.j2", report=report, figures=drawn, flag_titles=FLAGS)


def embed(files: Iterable[Path], size: int) -> dict[Path, Picture]:
    """The files as pictures of at most `size` px; equal ones share an id, an unreadable one gives the reason."""
    found: dict[Path, Picture] = {}
    by_content: dict[str, Picture] = {}
    for file in dict.fromkeys(files):
        id = f"p{len(found)}"
        try:
            content, uri = _drawn(file, file.stat().st_mtime_ns, size)
            if content not in by_content:
                by_content[content] = Picture(id, uri)
            found[file] = by_content[content]
        except FileNotFoundError:
            found[file] = Picture(id, "", f"{file.name} is not there")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # Pillow's errors on damaged files
            found[file] = Picture(id, "", f"{file.name} cannot be read")
    return found


@lru_cache(maxsize=2048)
def _drawn(file: Path, changed: int, size: int) -> tuple[str, str]:
    """A hash of a picture's file, and the picture as a data URI; cached for pages that are rewritten."""
    return hashlib.sha256(file.read_bytes()).hexdigest(), picture(file, size)


def read_skipped(job: Job) -> dict[str, str]:
    """The photos that a run left out, with the reasons, from its `summary.json`; empty without that file."""
    return read_summary(job.directory).get("skipped_photos", {})


def written(jobs: Sequence[Job]) -> str:
    """The earliest and latest time, in UTC, at which a job last wrote results, by its files' modification dates."""
    files = [job.directory / "results.jsonl" for job in jobs]
    times = sorted(file.stat().st_mtime for file in files if file.exists())
    dates = [datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%d %H:%M") for time in times]
    return " to ".join(dict.fromkeys((dates[0], dates[-1]))) + " UTC" if dates else UNKNOWN


def view(
    title: str,
    jobs: Sequence[Job],
    note: str,
    shown: Sequence[Output],
    n_left_out: int,
    pictures: Mapping[Path, Picture],
    skipped: Sequence[dict[str, str]],
    dates: str,
) -> View:
    """The page's content. `shown` are the outputs on the page, in order; `skipped` the photos left out by each job."""
    names, different = unique_names(jobs), differing(jobs)
    short = shortened(different)
    labels = [" ".join(f"{short[key]}={values[i]}" for key, values in different.items()) for i in range(len(jobs))]
    facets = by_facet(names, different, shown)
    return View(
        title=title,
        note=note,
        facts=facts(jobs, dates),
        judges=judges(jobs, names),
        common=[override for override in jobs[0].overrides if all(override in job.overrides for job in jobs)],
        tables=[run_table(jobs[0])] if len(jobs) == 1 else sweep_tables(jobs, names, different),
        facets=[Facet(key, distinct(values)) for key, values in facets.items()],
        flags={key: n for key in FLAGS if (n := sum(key in flags(output.row) for output in shown))},
        groups=groups(shown, names, labels, facets, pictures),
        n_faces=len(shown),
        n_left_out=n_left_out,
        failures=failures(jobs, names),
        skipped=left_out(skipped, names),
        jobs=[
            Block(
                name=name,
                label=about,
                status=job.status,
                reason=job.reason,
                directory=str(job.directory),
                command=job.command,
                config=yaml.safe_dump(job.config, sort_keys=False, allow_unicode=True),
            )
            for job, name, about in zip(jobs, names, labels, strict=True)
        ],
    )


def facts(jobs: Sequence[Job], dates: str) -> dict[str, str]:
    """Facts about the jobs by name: numbers of jobs, outputs and photos, target ages, dates."""
    rows = [row for job in jobs for row in job.rows]
    failed = sum(row["status"] != "ok" for row in rows)
    short = sum(row.get("reached") is False for row in rows)
    status = ", ".join(f"{n} {key}" for key, n in Counter(job.status for job in jobs).items())
    return {
        **({"status": jobs[0].status} if len(jobs) == 1 else {"jobs": status}),
        "method": ", ".join(dict.fromkeys(job.method for job in jobs)),
        "outputs": f"{len(rows) - failed} finished, {failed} failed" + (f", {short} not reached" if short else ""),
        "photos": str(len({row["photo"] for row in rows})),
        "target ages": ", ".join(distinct(f"{row['target_age']:g}" for row in rows)) or UNKNOWN,
        "seed": ", ".join(distinct(str(job.config["seed"]) for job in jobs if "seed" in job.config)) or UNKNOWN,
        "results written": dates,
    }


def judges(jobs: Sequence[Job], names: Sequence[str]) -> dict[str, str]:
    """The judge of each role; where jobs have different judges, with the jobs' names."""
    found = {}
    for key in dict.fromkeys(key for job in jobs for key in job.judges):
        whose: dict[str, list[str]] = {}
        for job, name in zip(jobs, names, strict=True):
            whose.setdefault(job.judges.get(key, "not measured"), []).append(name)
        several = len(whose) > 1
        found[key] = "; ".join(f"{judge} (job {', '.join(who)})" if several else judge for judge, who in whose.items())
    return found
