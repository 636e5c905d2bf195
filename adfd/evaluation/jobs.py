"""Read run directories as `Job`s: the run's settings, its rows and the estimates of its quantities."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adfd.basics.errors import AdfdError
from adfd.basics.files import Row, atomic, finite, read_rows
from adfd.evaluation.bootstrap import Bootstrap
from adfd.evaluation.estimates import Estimate, estimates
from adfd.evaluation.quantities import QUANTITIES
from adfd.runs.directory import CONFIG, row_key

SCHEMA_VERSION = 1
"""Schema version of metrics.json and aggregate.json: raise it when a key changes its meaning."""
LOSS_TERMS = {"age": "aging", "identity": "id", "gender": "gender", "diversity": "perceptual", "lpips": "perceptual"}
"""The loss term in which each judge is used."""
NOT_STEERING = "not in the loss"
ROW = ("photo", "target_age", "output", "status", "reason", "image")
"""Columns of every row of a run."""


@dataclass(frozen=True)
class Job:
    """One run directory, evaluated."""

    directory: Path
    name: str
    """The directory's name, which in a sweep is the job's number."""
    method: str
    overrides: tuple[str, ...]
    """As given on the command line, `key=value`."""
    command: str
    """Command line that reproduces the run."""
    config: dict[str, Any]
    status: str
    """finished | interrupted | failed | lost | running"""
    reason: str
    rows: list[Row]
    """One row per output, from `results.jsonl`, completed with the evaluation's measurements."""
    estimates: dict[str, Estimate]
    """By name of the quantity; quantities that do not apply are absent."""
    by_age: dict[float, dict[str, Estimate]]
    """The estimates by target age, in years."""
    judges: dict[str, str]
    """Judges by role ("panel", "lpips", "kid", "age", "identity", "gender", "diversity"): the name, and whether the
    judge was in the loss or the search."""


@dataclass(frozen=True)
class Record:
    """The record in a run directory."""

    directory: Path
    method: str
    overrides: tuple[str, ...]
    command: str
    config: dict[str, Any]
    model: dict[str, Any]
    """The `model` config of the run, with file paths that are valid on this machine."""


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """Run directories among `paths` and anywhere below them, without duplicates; jobs of a sweep sorted by number.

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
    """True where a directory is a run directory."""
    told = (path / CONFIG).is_file() or (path / ".hydra" / "config.yaml").is_file()
    return told and (path / "config_hash").is_file()


def _runs_below(path: Path) -> Iterable[Path]:
    for folder, subfolders, _ in os.walk(path):
        if is_run(Path(folder)):
            subfolders.clear()
            yield Path(folder).resolve()


def _in_order(path: Path) -> list[tuple[float, str]]:
    """Sort key that puts folder 2 before folder 10."""
    parts = (part for name in path.parts for part in re.split(r"(\d+)", name))
    return [(int(part) if part.isdigit() else math.inf, part) for part in parts]


def steering(judge: str, config: dict[str, Any]) -> str:
    """Where a judge of the run's own stack was used: in the loss, in the search for an age, in both, or in neither."""
    method = config.get("method", {})
    refined = (method.get("refinement") or {}).get("max_steps", 0) > 0
    in_loss = refined and judge in LOSS_TERMS and (method.get("loss") or {}).get(LOSS_TERMS[judge], 0) > 0
    in_search = judge == "age" and ("search" in method or method.get("anchor") == "guided")
    names = [name for name, steers in {"loss": in_loss, "search": in_search}.items() if steers]
    return f"in the {' and the '.join(names)}" if names else NOT_STEERING


def latest_rows(directory: Path) -> list[Row]:
    """The latest row of every output of a run; truncated lines are skipped.

    Raises AdfdError naming file, key and value where a row is malformed or names a file outside the run.
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
    """Raise AdfdError where a row's values are not of the types that a run writes."""
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
    """Paths of a row's files, relative to its run directory."""
    stem = f"{row['photo']}_age{row['target_age']:g}"
    of_photo = [f"images/{row['photo']}_source.png", f"images/{stem}_anchor.png"]
    return [*of_photo, f"latents/{stem}_{row['output']}.npz", *([row["image"]] if row["image"] else [])]


def read_summary(directory: Path) -> dict[str, Any]:
    """The content of `summary.json`; status "lost" where it is missing or unreadable."""
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
    """Make a job from a run's completed rows.

    `own` are the names of the judges of the stack that made the run; `judges` those of the judges that measured, by
    role.
    """
    summary = read_summary(record.directory)
    rows = [row | {"failed": float(row["status"] != "ok")} for row in rows]
    ages = sorted({row["target_age"] for row in rows})
    labels = dict(judges)
    for judge, name in judges.items() if "method" in record.config else ():  # unknown for other programs' pictures
        if not name.startswith("missing"):
            ours = own.get(judge) == name or (judge == "lpips" and own.get("diversity") == "lpips")
            labels[judge] += ", " + (steering(judge, record.config) if ours else NOT_STEERING)
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


def label(job: Job, jobs: Sequence[Job]) -> str:
    """A unique label: the job's method and the overrides in which the jobs differ, with its folder if needed."""
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
    """Keys of the overrides in which jobs differ, without keys that do not affect results."""
    chosen = [job_settings(job) for job in jobs if is_ours(job)]
    keys = dict.fromkeys(key for settings in chosen for key in settings)
    return [key for key in keys if len({settings.get(key) for settings in chosen}) > 1]


def is_ours(job: Job) -> bool:
    """True for a run of this program, False for a folder of another program's pictures."""
    return "method" in job.config


def job_settings(job: Job) -> dict[str, str]:
    """A job's overrides by key, without its method and without keys of where and how it ran.

    Empty for another program's pictures.
    """
    if not is_ours(job):
        return {}
    pairs = (override.lstrip("+~").partition("=") for override in job.overrides)
    aside = re.compile(
        r"(method|experiment|hardware|logger|paths|hydra|sweep)$|(hardware|logger|paths|hydra|sweep)[./]"
    )
    return {key: value for key, _, value in pairs if not aside.match(key)}


def describe(job: Job) -> dict[str, Any]:
    """A job as written to `metrics.json`: strict JSON, with null where an estimate is NaN."""
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
    """A judge's name, and whether it was in the loss and in the search; None where that is unknown."""
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
    """Write all jobs' metrics to one file, with their labels and the settings of the intervals."""
    jobs_described = [{"label": label(job, jobs), **describe(job)} for job in jobs]
    value = {"schema_version": SCHEMA_VERSION, "bootstrap": asdict(bootstrap), "jobs": jobs_described}
    write_json(path, value)
