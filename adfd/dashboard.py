"""Command "dashboard": a sweep's overview, workspace and report in W&B. `adfd dashboard --entity E --sweep DIR`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adfd.basics.errors import AdfdError, command
from adfd.basics.files import Row, atomic, read_rows
from adfd.report import workspace
from adfd.runs.console import show_path
from adfd.runs.directory import CONFIG, config_hash, latest_outputs, row_key

if TYPE_CHECKING:
    from adfd.report.heat_map import HeatMap

FOLDER = "overview"
"""Subfolder of a sweep's directory for its heat maps; also the job type of the W&B run that shows them."""


@command
def main() -> int:
    """Save a sweep's overview, workspace and report to W&B and print their URLs, or with --dry-run their JSON.

    Returns the exit code; 1 with a message on failure.
    """
    parser = argparse.ArgumentParser(prog="adfd dashboard", description="Write a sweep's overview to W&B.")
    parser.add_argument("--entity", help="the W&B user or team; not needed with --offline")
    parser.add_argument("--project", default="adfd", help="as in logger.project")
    parser.add_argument("--sweep", type=Path, help="directory of the sweep; without it, all runs of the project")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="print workspace and report as JSON; no network is used")
    what.add_argument("--offline", action="store_true", help="only store the overview; `wandb sync` sends it later")
    asked = parser.parse_args()
    write(asked)
    return 0


def write(asked: argparse.Namespace) -> None:
    """Save the overview as a W&B run of its own, then the workspace and the report that show it."""
    if not asked.entity and not asked.offline:
        raise AdfdError("--entity is missing: the W&B user or team; --offline needs none")
    sweep = Sweep(asked.sweep) if asked.sweep else None
    if asked.offline:
        if sweep is None:
            raise AdfdError("--offline needs --sweep, since only a sweep's overview can be stored for later")
        overview(sweep, asked, "offline")
        return
    name, maps = (sweep.directory.name, sweep.maps) if sweep else ("adfd", [])
    id = sweep.id if sweep else None
    lambdas = [shown.lambda_name for shown in maps]
    made = {"workspace": workspace.workspace(asked.entity, asked.project, name, id, lambdas)}
    if id:
        made["report"] = workspace.report(asked.entity, asked.project, name, id, maps, look_up=not asked.dry_run)
    if asked.dry_run:
        print(json.dumps({kind: workspace.as_json(shown) for kind, shown in made.items()}, indent=2))
        return
    if sweep:
        overview(sweep, asked, "online")
    for kind, shown in made.items():
        print(f"{kind}: {shown.save().url}")


def overview(sweep: Sweep, asked: argparse.Namespace, mode: str) -> None:
    """Draw the heat maps, and log them with all outputs as a W&B run in the sweep's group."""
    from adfd.report.figures import png
    from adfd.report.heat_map import draw
    from adfd.runs.tracking import WandbTracker

    folder = sweep.directory / FOLDER
    folder.mkdir(exist_ok=True)
    id = config_hash({FOLDER: sweep.id})
    tracker = WandbTracker(
        sweep.directory,
        {"sweep_id": sweep.id},
        id=id,
        name=FOLDER,
        group=sweep.id,
        job_type=FOLDER,
        project=asked.project,
        entity=asked.entity,
        mode=mode,
        tags=(),
    )
    rows, exit_code = list[Row](), 1
    try:
        for shown in sweep.maps:
            path = folder / f"{workspace.HEAT_MAP}_{shown.lambda_name}.png"
            with atomic(path) as stream:
                stream.write(png(draw(shown)))
            tracker.figure(path.stem, path)
        rows, exit_code = sweep.outputs(), 0
    finally:
        tracker.finish({"jobs": len(sweep.jobs)}, rows, exit_code)
    show_path("heat maps", folder)
    if mode == "offline":
        show_path("to W&B", Path(f"wandb sync {sweep.directory}/wandb/offline-run-*-{id}"))


@dataclass(frozen=True)
class Sweep:
    """The jobs of a sweep, read from their run directories."""

    directory: Path

    def __post_init__(self) -> None:
        if not (self.directory / "sweep_id").is_file():
            remedy = "give the directory of a sweep, such as outputs/sweeps/NAME"
            raise AdfdError(f"{self.directory} has no file sweep_id; {remedy}")

    @property
    def id(self) -> str:
        """The id stored in the W&B runs of the sweep."""
        return (self.directory / "sweep_id").read_text(encoding="utf-8")

    @cached_property
    def jobs(self) -> list[Path]:
        """The run directories, sorted by number."""
        found = [file.parent for file in self.directory.glob(f"*/{CONFIG}")]
        return sorted((job for job in found if job.name.isdigit()), key=lambda job: int(job.name))

    @cached_property
    def maps(self) -> list[HeatMap]:
        """The heat maps: one for each lambda in which the jobs differ."""
        from adfd.report.heat_map import heat_maps

        return heat_maps([(lambdas(job), list(latest_outputs(job).values())) for job in self.jobs])

    def outputs(self) -> list[Row]:
        """A row per output with its job, its lambdas, and the independent judges' readings if they were measured."""
        return [
            {"job": job.name} | {f"loss.{name}": value for name, value in lambdas(job).items()} | row
            for job in self.jobs
            for row in judged(job, list(latest_outputs(job).values()))
        ]


def lambdas(job: Path) -> dict[str, float]:
    """The weights of a job's loss, by name."""
    loss = json.loads((job / CONFIG).read_text(encoding="utf-8"))["config"].get("loss") or {}
    return {name: float(loss[name]) for name in workspace.LAMBDAS if name in loss}


def judged(job: Path, rows: Sequence[Row]) -> list[Row]:
    """Rows completed with the independent judges' calibrated readings, where they were measured."""
    from adfd.evaluation import calibration, measuring
    from adfd.evaluation.independent import Independent

    lines = [line for line in read_rows(job / measuring.FILE) if line.get("judges") == measuring.INDEPENDENT]
    known = {row_key(line): line for line in lines}
    if not known:
        return list(rows)
    judges = Independent(panel=None, lpips=None, calibration=calibration.shipped(), batch_size=1)
    hidden = {"judges", "of", "independent", "lpips_to"}
    found: dict[Any, Row] = {}
    for group in measuring.groups(rows):
        told = [known.get(row_key(row), {}) for row in group]
        if all(line.get("of") == measuring.fingerprint(group) for line in told):
            merged = [row | line for row, line in zip(group, told, strict=True)]
            found |= {row_key(row): row for row in judges.complete(merged)}
    return [{k: v for k, v in found.get(row_key(row), row).items() if k not in hidden} for row in rows]


if __name__ == "__main__":
    sys.exit(main())
