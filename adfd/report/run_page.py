"""The report of a run or a sweep: one page with tables, figures, faces, and the command and settings of every job.

`write_report` reads the pictures and writes the page; `view`, in between, is a pure function to plain data.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import reduce
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from adfd.basics.files import Row
from adfd.evaluation.jobs import Estimate, Job, read_summary
from adfd.evaluation.metrics import QUANTITIES, Quantity
from adfd.report.pages import inline, picture, write_page

UNKNOWN = "–"
DEFAULT = "default"  # stands for an override that a job does not have, where its configuration holds no plain value


@dataclass(frozen=True)
class Picture:
    """A picture on the page, embedded where it is first shown."""

    id: str
    uri: str
    reason: str = ""
    """Why there is none to show."""
    again: bool = False
    """Whether it is on the page already."""


@dataclass(frozen=True)
class Output:
    """A finished output and where its pictures lie."""

    job: Job
    number: int
    """Of the job, from 0."""
    row: Row

    @property
    def image(self) -> Path:
        return self.job.directory / str(self.row["image"])

    @property
    def source(self) -> Path:
        return self.job.directory / f"images/{self.row['photo']}_source.png"

    @property
    def anchor(self) -> Path:
        return self.job.directory / f"images/{self.row['photo']}_age{self.row['target_age']:g}_anchor.png"


@dataclass(frozen=True)
class Cell:
    text: str
    detail: str = ""
    value: str | None = None
    """What it is sorted by, where not by its text; empty ones come last."""
    best: bool = False
    bad: bool = False
    link: str = ""


@dataclass(frozen=True)
class Column:
    title: str
    unit: str = ""
    numeric: bool = False
    first: str = "ascending"
    """How the first click sorts."""


@dataclass(frozen=True)
class Table:
    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    foot: list[list[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Facet:
    """What the faces can be filtered and sorted by."""

    title: str
    values: list[str]


@dataclass(frozen=True)
class Reference:
    """A source or an anchor beside the outputs made from it."""

    kind: str
    picture: Picture
    age: str
    jobs: list[str]
    """Whose it is; empty where it is everybody's."""


@dataclass(frozen=True)
class Face:
    job: str
    number: int
    """Of the job, from 0."""
    label: str
    """What sets the job apart from the others."""
    method: str
    output: int
    picture: Picture
    source: str
    anchor: str
    """Ids of the pictures."""
    readings: dict[str, str]
    """Age, its error, identity to source and to anchor, as shown."""
    sort_values: dict[str, str]
    """The same in full precision; empty where unknown."""
    details: dict[str, str]
    facets: list[int]
    """For each facet, which of its values is this face's."""


@dataclass(frozen=True)
class Group:
    """The faces of one photo at one target age."""

    photo: str
    target_age: str
    references: list[Reference]
    faces: list[Face]


@dataclass(frozen=True)
class Block:
    """What it takes to run a job again."""

    name: str
    label: str
    status: str
    reason: str
    directory: str
    command: str
    config: str
    """As YAML."""


@dataclass(frozen=True)
class View:
    """All that the page says."""

    title: str
    note: str
    facts: dict[str, str]
    judges: dict[str, str]
    common: list[str]
    """The overrides that all jobs share."""
    tables: list[Table]
    facets: list[Facet]
    groups: list[Group]
    n_faces: int
    n_left_out: int
    """Faces that are not on the page."""
    failures: Table
    skipped: Table
    jobs: list[Block]


def write_report(
    title: str,
    jobs: Sequence[Job],
    path: Path,
    figures: dict[str, str],
    note: str = "",
    *,
    size: int = 224,
    max_faces: int = 500,
) -> None:
    """Write the page of one run, or of the jobs of a sweep, to `path`.

    `figures` maps captions to SVG text, `note` is a paragraph under the title. Faces are embedded at `size` px, at most
    `max_faces` of them; how many are left out stands on the page. In place of a picture that cannot be read stands why.
    """
    outputs = finished(jobs)
    shown = outputs[:max_faces]
    pictures = embed([file for output in shown for file in (output.source, output.anchor, output.image)], size)
    skipped = [read_skipped(job) for job in jobs]
    report = view(title, jobs, note, shown, len(outputs) - len(shown), pictures, skipped, written(jobs))
    drawn = {caption: inline(svg) for caption, svg in figures.items()}
    write_page(path, "report.html.j2", report=report, figures=drawn)


def finished(jobs: Sequence[Job]) -> list[Output]:
    """The finished outputs of all jobs: by photo as they first come, then target age, job and output."""
    photos = dict.fromkeys(row["photo"] for job in jobs for row in job.rows)
    place = {photo: i for i, photo in enumerate(photos)}
    outputs = [Output(job, i, row) for i, job in enumerate(jobs) for row in job.rows if row["status"] == "ok"]
    return sorted(outputs, key=lambda o: (place[o.row["photo"]], o.row["target_age"], o.number, o.row["output"]))


def embed(files: Iterable[Path], size: int) -> dict[Path, Picture]:
    """The pictures in files, equal ones under one id; a file that is no picture gives the reason."""
    found: dict[Path, Picture] = {}
    by_content: dict[str, Picture] = {}
    for file in dict.fromkeys(files):
        id = f"p{len(found)}"
        try:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            if content not in by_content:
                by_content[content] = Picture(id, picture(file, size))
            found[file] = by_content[content]
        except FileNotFoundError:
            found[file] = Picture(id, "", f"{file.name} is not there")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # what Pillow raises on broken files
            found[file] = Picture(id, "", f"{file.name} cannot be read")
    return found


def read_skipped(job: Job) -> dict[str, str]:
    """The photos that a run left out, with the reasons, from its `summary.json`; none where there is none."""
    return read_summary(job.directory).get("skipped_photos", {})


def written(jobs: Sequence[Job]) -> str:
    """From when to when the jobs last wrote results, by the dates of their files."""
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


def unique_names(jobs: Sequence[Job]) -> list[str]:
    """A name of each job: its directory's, with the parent's where that is not enough."""
    count = Counter(job.name for job in jobs)
    return [job.name if count[job.name] == 1 else f"{job.directory.parent.name}/{job.name}" for job in jobs]


def differing(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """By key of the overrides in which the jobs differ: its value in each of them. The method comes first."""
    given = [dict(map(parted, job.overrides)) for job in jobs]
    found = {"method": [job.method for job in jobs]}
    for key in dict.fromkeys(key for overrides in given for key in overrides if key != "method"):
        found[key] = [mine.get(key, configured(job.config, key)) for mine, job in zip(given, jobs, strict=True)]
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def shortened(keys: Iterable[str]) -> dict[str, str]:
    """By key, its last part, where that is not the last part of another one too."""
    last = {key: key.rpartition(".")[2] for key in keys}
    count = Counter(last.values())
    return {key: part if count[part] == 1 else key for key, part in last.items()}


def parted(override: str) -> tuple[str, str]:
    """Key and value of an override, without the plus signs that add a key."""
    key, equals, value = override.lstrip("+").partition("=")
    return key, value if equals else "removed"


def configured(config: dict[str, Any], key: str) -> str:
    """What a job's configuration holds where another one has an override."""
    value = reduce(lambda node, part: node.get(part, {}) if isinstance(node, dict) else {}, key.split("."), config)
    if isinstance(value, dict):
        return DEFAULT
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def distinct(values: Iterable[str]) -> list[str]:
    """Each value once: numbers by size, anything else as it first comes."""
    values = list(dict.fromkeys(values))
    try:
        return sorted(values, key=float)
    except ValueError:
        return values


def facts(jobs: Sequence[Job], dates: str) -> dict[str, str]:
    """What was run, in counts."""
    rows = [row for job in jobs for row in job.rows]
    failed = sum(row["status"] != "ok" for row in rows)
    status = ", ".join(f"{n} {key}" for key, n in Counter(job.status for job in jobs).items())
    return {
        **({"status": jobs[0].status} if len(jobs) == 1 else {"jobs": status}),
        "method": ", ".join(dict.fromkeys(job.method for job in jobs)),
        "outputs": f"{len(rows) - failed} finished, {failed} failed",
        "photos": str(len({row["photo"] for row in rows})),
        "target ages": ", ".join(distinct(f"{row['target_age']:g}" for row in rows)) or UNKNOWN,
        "seed": ", ".join(distinct(str(job.config["seed"]) for job in jobs if "seed" in job.config)) or UNKNOWN,
        "results written": dates,
    }


def judges(jobs: Sequence[Job], names: Sequence[str]) -> dict[str, str]:
    """Who measured what; where that is not the same in all jobs, with their names."""
    found = {}
    for key in dict.fromkeys(key for job in jobs for key in job.judges):
        whose: dict[str, list[str]] = {}
        for job, name in zip(jobs, names, strict=True):
            whose.setdefault(job.judges.get(key, "not measured"), []).append(name)
        several = len(whose) > 1
        found[key] = "; ".join(f"{judge} (job {', '.join(who)})" if several else judge for judge, who in whose.items())
    return found


def run_table(job: Job) -> Table:
    """A run's quantities: a row per target age, and below them the whole run."""
    whole = ([Cell("all")], job.estimates)
    lines = [([Cell(f"{age:g}")], estimates) for age, estimates in sorted(job.by_age.items())]
    return estimates_table("", [Column("target age", "years", numeric=True)], lines, [whole])


def sweep_tables(jobs: Sequence[Job], names: Sequence[str], different: Mapping[str, list[str]]) -> list[Table]:
    """A sweep's quantities, a row per job: over all target ages, and at each of them where there are several."""
    heads = [Column("job"), *map(Column, different)]
    cells = [
        [Cell(name, link=f"#job-{i}"), *(Cell(values[i]) for values in different.values())]
        for i, name in enumerate(names)
    ]
    ages = sorted({age for job in jobs for age in job.by_age})
    lines = [([*cells[i], Cell(job.status, bad=job.status != "finished")], job.estimates) for i, job in enumerate(jobs)]
    title = "over all target ages" if len(ages) > 1 else ""
    tables = [estimates_table(title, [*heads, Column("status")], lines, compared=jobs)]
    for age in ages if len(ages) > 1 else ():
        there = [i for i, job in enumerate(jobs) if age in job.by_age]
        lines = [(cells[i], jobs[i].by_age[age]) for i in there]
        tables.append(estimates_table(f"at {age:g} years", heads, lines, compared=[jobs[i] for i in there], age=age))
    return tables


Line = tuple[list[Cell], dict[str, Estimate]]


def estimates_table(
    title: str,
    heads: list[Column],
    lines: Sequence[Line],
    foot: Sequence[Line] = (),
    compared: Sequence[Job] = (),
    age: float | None = None,
) -> Table:
    """A column for every quantity that is there.

    `compared` are the jobs of the lines: where the finished ones cover the same photos (at `age`, or at the same target
    ages), the best of them is marked.
    """
    shown = {key: quantity for key, quantity in QUANTITIES.items() if any(key in line[1] for line in [*lines, *foot])}
    complete = [job.status == "finished" for job in compared] or [False] * len(lines)
    alike = len({covered(job, age) for job, there in zip(compared, complete, strict=False) if there}) == 1

    def cells(line: Line, candidate: bool) -> list[Cell]:
        return [*line[0], *(estimate_cell(line[1].get(key), shown[key], best[key], candidate) for key in shown)]

    candidates = [estimates for (_, estimates), there in zip(lines, complete, strict=True) if there and alike]
    best = {key: leader([each[key].mean for each in candidates if key in each], shown[key]) for key in shown}
    note = ""
    if sum(complete) > 1:
        unlike = "No best is marked: the jobs are not of the same photos and target ages."
        note = "Bold: the best of the finished jobs." if alike else unlike
    return Table(
        title=title,
        columns=[*heads, *map(quantity_column, shown.values())],
        rows=[cells(line, there) for line, there in zip(lines, complete, strict=True)],
        foot=[cells(line, False) for line in foot],
        note=note,
    )


def covered(job: Job, age: float | None) -> frozenset[tuple[str, float]]:
    """The photos and target ages of a job, or its photos at one age."""
    return frozenset((row["photo"], row["target_age"]) for row in job.rows if age in (None, row["target_age"]))


def leader(means: list[float], quantity: Quantity) -> float | None:
    """The best of the means, to the digits that are shown; None where there is none."""
    known = {round(mean, quantity.digits) for mean in means if math.isfinite(mean)}
    if not quantity.better or len(known) < 2:
        return None
    return min(known) if quantity.better == "lower" else max(known)


def quantity_column(quantity: Quantity) -> Column:
    first = "descending" if quantity.better == "higher" else "ascending"
    better = f"{quantity.better} is better" if quantity.better else ""
    return Column(quantity.title, ", ".join(filter(None, (quantity.unit, better))), numeric=True, first=first)


def estimate_cell(estimate: Estimate | None, quantity: Quantity, best: float | None, candidate: bool) -> Cell:
    """A mean, to the digits of its quantity, and the interval where there are photos to have one over."""
    if estimate is None or not math.isfinite(estimate.mean):
        return Cell(UNKNOWN, value="")
    low, high = (number(bound, quantity.digits) for bound in (estimate.low, estimate.high))
    return Cell(
        text=f"{estimate.mean:.{quantity.digits}f}",
        detail=f"{low} to {high}" if estimate.low < estimate.high else "",
        value=repr(float(estimate.mean)),
        best=candidate and best is not None and round(estimate.mean, quantity.digits) == best,
    )


def by_facet(names: Sequence[str], different: Mapping[str, list[str]], shown: Sequence[Output]) -> dict[str, list[str]]:
    """By facet: its value of each shown output. What they all have in common is no facet."""
    found = {key: [values[o.number] for o in shown] for key, values in different.items() if key != "target_age"}
    found["photo"] = [o.row["photo"] for o in shown]
    found["target age"] = [f"{o.row['target_age']:g}" for o in shown]
    found["job"] = [names[o.number] for o in shown]
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def groups(
    shown: Sequence[Output],
    names: Sequence[str],
    labels: Sequence[str],
    facets: Mapping[str, list[str]],
    pictures: Mapping[Path, Picture],
) -> list[Group]:
    """The faces by photo and target age, each picture embedded where it first comes."""
    embedded: set[str] = set()

    def once(found: Picture) -> Picture:
        again = found.id in embedded
        embedded.add(found.id)
        return replace(found, again=again)

    choices = {key: distinct(values) for key, values in facets.items()}
    members: dict[tuple[str, float], list[int]] = {}
    for i, output in enumerate(shown):
        members.setdefault((output.row["photo"], output.row["target_age"]), []).append(i)
    return [
        Group(
            photo=photo,
            target_age=f"{age:g}",
            references=[
                replace(reference, picture=once(reference.picture))
                for reference in references([shown[i] for i in group], names, pictures)
            ],
            faces=[
                replace(
                    face(shown[i], names, labels, pictures),
                    picture=once(pictures[shown[i].image]),
                    facets=[choices[key].index(values[i]) for key, values in facets.items()],
                )
                for i in group
            ],
        )
        for (photo, age), group in members.items()
    ]


def references(outputs: Sequence[Output], names: Sequence[str], pictures: Mapping[Path, Picture]) -> list[Reference]:
    """The sources and then the anchors of some outputs, equal pictures once."""
    found = []
    for kind in ("source", "anchor"):
        whose: dict[str, list[Output]] = {}
        for output in outputs:
            whose.setdefault(pictures[getattr(output, kind)].id, []).append(output)
        for theirs in whose.values():
            jobs = list(dict.fromkeys(names[output.number] for output in theirs)) if len(whose) > 1 else []
            shown, age = pictures[getattr(theirs[0], kind)], theirs[0].row[f"{kind}_age"]
            found.append(Reference(kind, shown, number(age, 1), jobs))
    return found


def face(output: Output, names: Sequence[str], labels: Sequence[str], pictures: Mapping[Path, Picture]) -> Face:
    """An output with what is known of it."""
    row = {"age_error": abs(output.row["age"] - output.row["target_age"]), **output.row}
    values = {
        "age": row["age"],
        "age_error": row["age_error"],
        "id_similarity_source": row["id_similarity_source"],
        "id_similarity_anchor": row["id_similarity_anchor"],
    }
    measured = {QUANTITIES[key].title: number(row.get(key), QUANTITIES[key].digits) for key in QUANTITIES}
    other = {key.replace("_", " "): row.get(key) for key in ("reference", "steps", "alpha", "output_seed", "image")}
    return Face(
        job=names[output.number],
        number=output.number,
        label=labels[output.number],
        method=row["method"],
        output=row["output"],
        picture=pictures[output.image],
        source=pictures[output.source].id,
        anchor=pictures[output.anchor].id,
        readings={key: number(value, 1 if key.startswith("age") else 2) for key, value in values.items()},
        sort_values={key: "" if value is None else repr(float(value)) for key, value in values.items()},
        details={key: text for key, text in measured.items() if text != UNKNOWN}
        | {key: str(value) for key, value in other.items() if value is not None},
        facets=[],
    )


def number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def failures(jobs: Sequence[Job], names: Sequence[str]) -> Table:
    """The outputs that failed, with the reasons."""
    titles = ("job", "photo", "target age", "output", "reason")
    rows = [
        [
            Cell(names[i], link=f"#job-{i}"),
            *map(Cell, (row["photo"], f"{row['target_age']:g}", str(row["output"]), row["reason"])),
        ]
        for i, job in enumerate(jobs)
        for row in job.rows
        if row["status"] != "ok"
    ]
    return Table("", [Column(title, numeric=title in ("target age", "output")) for title in titles], rows, [])


def left_out(skipped: Sequence[dict[str, str]], names: Sequence[str]) -> Table:
    """The photos that were left out, with the reasons and the jobs."""
    whose: dict[tuple[str, str], list[str]] = {}
    for photos, name in zip(skipped, names, strict=True):
        for photo_and_reason in photos.items():
            whose.setdefault(photo_and_reason, []).append(name)
    rows = [[Cell(photo), Cell(reason), Cell(", ".join(jobs))] for (photo, reason), jobs in whose.items()]
    return Table("", [Column("photo"), Column("reason"), Column("jobs")], rows, [])
