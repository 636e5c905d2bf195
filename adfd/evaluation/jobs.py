"""Run directories in, one `Job` each out: what was run, its rows and its estimates."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from adfd.basics.errors import AdfdError
from adfd.basics.files import Row, atomic, finite, read_rows
from adfd.evaluation.bootstrap import Bootstrap
from adfd.evaluation.metrics import QUANTITIES, Quantity
from adfd.runs.directory import CONFIG, row_key

SCHEMA_VERSION = 1
"""Of metrics.json and aggregate.json: raise it when a key changes its meaning."""
LOSS_TERMS = {"age": "aging", "identity": "id", "gender": "gender", "diversity": "perceptual"}
"""The loss term through which each judge steers a refinement."""
NOT_STEERING = "not in the loss"
ROW = ("photo", "target_age", "output", "status", "reason", "image")
"""What every row of a run holds."""


@dataclass(frozen=True)
class Estimate:
    """Mean over photos, standard deviation over outputs, and a bootstrap confidence interval over photos.

    What is unknown is NaN: the interval of a single photo, the deviation of a single output, both of a count.
    """

    mean: float
    sd: float
    low: float
    high: float
    n_photos: int
    n_outputs: int


@dataclass(frozen=True)
class Job:
    """One run directory, evaluated."""

    directory: Path
    name: str
    """The directory's name: a job's number in a sweep."""
    method: str
    overrides: tuple[str, ...]
    """As given on the command line, `key=value`."""
    command: str
    """What reproduces the run."""
    config: dict[str, Any]
    status: str
    """finished | interrupted | failed | lost | running"""
    reason: str
    rows: list[Row]
    """One per output, from `results.jsonl`, with what the evaluation measured added."""
    estimates: dict[str, Estimate]
    """By name of the quantity; what does not apply is absent."""
    by_age: dict[float, dict[str, Estimate]]
    """The same by target age, in years."""
    judges: dict[str, str]
    """Who measured: "panel", "lpips", "age", "identity", "gender", "diversity" -> name, and whether in the loss."""


@dataclass(frozen=True)
class Record:
    """The record in a run directory."""

    directory: Path
    method: str
    overrides: tuple[str, ...]
    command: str
    config: dict[str, Any]
    model: dict[str, Any]
    """The stack that made it, with the paths of its files as they are here."""


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """Run directories among `paths` and anywhere below them, each once, jobs of a sweep in the order of their numbers.

    Raises AdfdError where a path does not exist or holds no run directory.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            raise AdfdError(f"runs: {path} {'is no directory' if path.exists() else 'does not exist'}")
        runs = sorted(_runs_below(path), key=_in_order)
        if not runs:
            raise AdfdError(f"runs: {path} holds no run directory, which is what python -m adfd leaves")
        found |= dict.fromkeys(runs)
    return list(found)


def is_run(path: Path) -> bool:
    """Whether a directory is a run directory."""
    told = (path / CONFIG).is_file() or (path / ".hydra" / "config.yaml").is_file()
    return told and (path / "config_hash").is_file()


def _runs_below(path: Path) -> Iterable[Path]:
    for folder, subfolders, _ in os.walk(path):
        if is_run(Path(folder)):
            subfolders.clear()
            yield Path(folder).resolve()


def _in_order(path: Path) -> list[tuple[float, str]]:
    """A key that sorts 2 before 10."""
    parts = (part for name in path.parts for part in re.split(r"(\d+)", name))
    return [(int(part) if part.isdigit() else math.inf, part) for part in parts]


def steering(judge: str, config: dict[str, Any]) -> str:
    """How a judge of the run's own stack steered its outputs: in the loss, in the search of an age, in both, or not."""
    method = config.get("method", {})
    refined = (method.get("refinement") or {}).get("max_steps", 0) > 0
    in_loss = refined and (method.get("loss") or {}).get(LOSS_TERMS[judge], 0) > 0
    in_search = judge == "age" and ("search" in method or method.get("anchor") == "guided")
    names = [name for name, steers in {"loss": in_loss, "search": in_search}.items() if steers]
    return f"in the {' and the '.join(names)}" if names else NOT_STEERING


def latest_rows(directory: Path) -> list[Row]:
    """The latest row of every output of a run; a line that was cut short is none.

    Raises AdfdError naming file, key and value where a row is of another form, or names what lies outside the run.
    """
    file, root = directory / "results.jsonl", directory.resolve()
    if not file.resolve().is_relative_to(root):
        raise AdfdError(f"{file} is a link out of the run; leave this run out")
    rows = read_rows(file)
    for row in rows:
        check_row(row, file)
    latest = list({row_key(row): row for row in rows}.values())
    for row in latest:
        for name in pictures_of(row):
            if not (directory / name).resolve().is_relative_to(root):
                raise AdfdError(f"{file}: a row names {name!r}, which lies outside the run; leave this run out")
    return latest


def check_row(row: Row, file: Path) -> None:
    """Refuse a row whose values are not of the kind that a run writes."""
    numbers = {column for quantity in QUANTITIES.values() for column in quantity.reads} - {"failed", "target_age"}
    for key, kind in {
        "photo": str,
        "target_age": int | float,
        "output": int,
        "status": str,
        "reason": str,
        "image": str | None,
        "file": str | None,
        **dict.fromkeys(numbers, int | float | None),
    }.items():
        if (key not in row and key in ROW) or not isinstance(row.get(key), kind if key in row else object):
            raise AdfdError(f"{file}: a row's {key} is not of the kind that a run writes, got {row.get(key)!r:.80}")
    ok = row["status"] == "ok"
    if not math.isfinite(row["target_age"]) or (ok and not (isinstance(row["image"], str) and "age" in row)):
        raise AdfdError(f"{file}: a row of {row['photo']!r:.80} lacks what a finished output has")
    if any(character in row["photo"] for character in "/\0"):
        raise AdfdError(f"{file}: a row's photo may not name a folder, got {row['photo']!r:.80}")


def pictures_of(row: Row) -> list[str]:
    """The files that belong to a row, within its run."""
    stem = f"{row['photo']}_age{row['target_age']:g}"
    of_photo = [f"images/{row['photo']}_source.png", f"images/{stem}_anchor.png"]
    return [*of_photo, f"latents/{stem}_{row['output']}.npz", *([row["image"]] if row["image"] else [])]


def read_summary(directory: Path) -> dict[str, Any]:
    """`summary.json`; status lost where there is none that can be read."""
    try:
        summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
        status, reason = str(summary.get("status", "lost")), str(summary.get("reason", ""))
        skipped = {str(photo): str(why) for photo, why in summary.get("skipped_photos", {}).items()}
    except (OSError, ValueError, RecursionError, TypeError, AttributeError):
        return {"status": "lost", "reason": "the run ended without a summary"}
    return summary | {"status": status, "reason": reason, "skipped_photos": skipped}


def make_job(
    record: Record, rows: Sequence[Row], own: dict[str, str], judges: dict[str, str], bootstrap: Bootstrap
) -> Job:
    """A job from its rows, with what was measured in them, as the judges of these names read them.

    `own` are the names of the judges of the stack that made it.
    """
    summary = read_summary(record.directory)
    rows = [row | {"failed": float(row["status"] != "ok")} for row in rows]
    ages = sorted({row["target_age"] for row in rows})
    labels = dict(judges)
    for judge, name in judges.items() if "method" in record.config else ():  # else none knows
        if not name.startswith("missing"):
            labels[judge] += ", " + (steering(judge, record.config) if own.get(judge) == name else NOT_STEERING)
    return Job(
        directory=record.directory,
        name=record.directory.name,
        method=record.method,
        overrides=record.overrides,
        command=record.command,
        config=record.config,
        status=summary["status"],
        reason=summary["reason"],
        rows=rows,
        estimates=estimates(rows, bootstrap),
        by_age={age: estimates([row for row in rows if row["target_age"] == age], bootstrap) for age in ages},
        judges=labels,
    )


def estimates(rows: Sequence[Row], bootstrap: Bootstrap) -> dict[str, Estimate]:
    """The estimates of all quantities that these rows hold values of, by name."""
    made = {name: estimate(quantity, rows, bootstrap) for name, quantity in QUANTITIES.items()}
    return {name: value for name, value in made.items() if value is not None}


def estimate(quantity: Quantity, rows: Sequence[Row], bootstrap: Bootstrap) -> Estimate | None:
    """One quantity of the outputs that were made (failures: of all that were asked for); None where none tells it."""
    asked = [row for row in rows if row["status"] == "ok" or "failed" in quantity.reads]
    told = [row for row in asked if all(row.get(column) is not None for column in quantity.reads)]
    if not told:
        return None
    names = sorted({row["photo"] for row in told})
    metric = quantity.metric()
    photo = torch.tensor([names.index(row["photo"]) for row in told])
    columns = torch.tensor([[float(row[column]) for row in told] for column in quantity.reads], dtype=torch.double)
    metric.update(photo, *columns)
    low, high = metric.interval(bootstrap)
    return Estimate(metric.compute().item(), metric.spread(), low, high, len(names), len(told))


def label(job: Job, jobs: Sequence[Job]) -> str:
    """A label that no other job has: its method and the overrides in which jobs differ, with its folder if needed."""
    text = _label(job, jobs)
    twins = [other.directory for other in jobs if _label(other, jobs) == text]
    if len(twins) == 1:
        return text
    ends = ("/".join(job.directory.parts[-n:]) for n in range(1, len(job.directory.parts)))
    end = next((end for end in ends if sum(f"/{twin}".endswith(f"/{end}") for twin in twins) == 1), job.directory)
    return f"{text} ({end})"


def _label(job: Job, jobs: Sequence[Job]) -> str:
    differing = [f"{key}={job_settings(job)[key]}" for key in differing_keys(jobs) if key in job_settings(job)]
    return " ".join([job.method, *differing])


def differing_keys(jobs: Sequence[Job]) -> list[str]:
    """Keys of the overrides in which jobs differ, of those that a result depends on."""
    chosen = [job_settings(job) for job in jobs if is_ours(job)]
    keys = dict.fromkeys(key for settings in chosen for key in settings)
    return [key for key in keys if len({settings.get(key) for settings in chosen}) > 1]


def is_ours(job: Job) -> bool:
    """Whether a job is a run of ours, not a folder of another program's pictures."""
    return "method" in job.config


def job_settings(job: Job) -> dict[str, str]:
    """A job's overrides by key, without its method and without where and how it ran; none of what is not ours."""
    if not is_ours(job):
        return {}
    pairs = (override.lstrip("+~").partition("=") for override in job.overrides)
    aside = re.compile(r"(method|experiment|hardware|logger|paths|hydra)$|(hardware|logger|paths|hydra)[./]")
    return {key: value for key, _, value in pairs if not aside.match(key)}


def describe(job: Job) -> dict[str, Any]:
    """A job as `metrics.json` holds it, strict JSON: null where an estimate is NaN."""
    skipped = read_summary(job.directory).get("skipped_photos", {})
    return finite(
        {
            "schema_version": SCHEMA_VERSION,
            "directory": str(job.directory),
            "method": job.method,
            "overrides": job.overrides,
            "command": job.command,
            "status": job.status,
            "reason": job.reason,
            "judges": {judge: _judge(job, judge) for judge in job.judges},
            "quantities": _described(job, job.estimates),
            "by_target_age": {f"{age:g}": _described(job, values) for age, values in job.by_age.items()},
            "failures": [
                {key: row[key] for key in ("photo", "target_age", "output", "reason")}
                for row in job.rows
                if row["status"] != "ok"
            ],
            "skipped_photos": skipped,
        }
    )


def _described(job: Job, values: dict[str, Estimate]) -> dict[str, Any]:
    def of(name: str) -> dict[str, Any]:
        quantity = QUANTITIES[name]
        return {"unit": quantity.unit, "judges": {judge: _judge(job, judge) for judge in quantity.judges}}

    return {name: asdict(value) | of(name) for name, value in values.items()}


def _judge(job: Job, judge: str) -> dict[str, Any]:
    """Name, and whether it was in the loss and in the search; null where none knows."""
    name, _, steers = job.judges[judge].partition(", ")
    where = {f"in_the_{part}": part in steers and steers != NOT_STEERING for part in ("loss", "search")}
    return {"name": name} | (where if steers else dict.fromkeys(where))


def write_json(path: Path, value: Any) -> None:
    with atomic(path) as stream:
        stream.write(json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")


def write_metrics(job: Job) -> None:
    """Write `metrics.json` beside a run."""
    write_json(job.directory / "metrics.json", describe(job))


def write_aggregate(jobs: Sequence[Job], path: Path, bootstrap: Bootstrap) -> None:
    """All jobs' metrics in one file, with their labels and how the intervals were made."""
    jobs_described = [{"label": label(job, jobs), **describe(job)} for job in jobs]
    value = {"schema_version": SCHEMA_VERSION, "bootstrap": asdict(bootstrap), "jobs": jobs_described}
    write_json(path, value)
