"""The report of a run or a sweep: one page with tables, figures, faces, and the command and settings of every job.

`write_report` reads the pictures and writes the page; `view`, in between, is a pure function to plain data.
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
    `max_faces` of them; how many are left out stands on the page. In place of a picture that cannot be read stands why.
    A page with `refresh` loads itself again after so many seconds.
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
    """The pictures in files, equal ones under one id; a file that is no picture gives the reason."""
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
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # what Pillow raises on broken files
            found[file] = Picture(id, "", f"{file.name} cannot be read")
    return found


@lru_cache(maxsize=2048)
def _drawn(file: Path, changed: int, size: int) -> tuple[str, str]:
    """A hash of a picture's file, and the picture as a data URI; drawn once for pages that are written again."""
    return hashlib.sha256(file.read_bytes()).hexdigest(), picture(file, size)


def read_skipped(job: Job) -> dict[str, str]:
    """The photos that a run left out, with the reasons, from its `summary.json`; none where there is none."""
    return read_summary(job.directory).get("skipped_photos", {})


def written(jobs: Sequence[Job]) -> str:
    """When the jobs last wrote results, earliest to latest, UTC, by their files' dates."""
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
    """All that the page says. `shown` are the outputs on the page, in order; `skipped` the photos each job left out."""
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
    """What was run, in counts."""
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
    """The judge of each quantity; where jobs differ in that, with the jobs' names."""
    found = {}
    for key in dict.fromkeys(key for job in jobs for key in job.judges):
        whose: dict[str, list[str]] = {}
        for job, name in zip(jobs, names, strict=True):
            whose.setdefault(job.judges.get(key, "not measured"), []).append(name)
        several = len(whose) > 1
        found[key] = "; ".join(f"{judge} (job {', '.join(who)})" if several else judge for judge, who in whose.items())
    return found
