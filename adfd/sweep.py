"""After a multirun: `sweep.csv`, a table, and one contact sheet of all jobs. Hydra calls this as a callback."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from adfd.runs import Row, atomic
from adfd.sheets import stack_sheets
from adfd.tables import show_path, show_sweep

COLUMNS = (
    "job",
    "overrides",
    "status",
    "outputs",
    "failures",
    "age_error",
    "id_similarity_source",
    "id_similarity_anchor",
    "diversity",
    "seconds",
    "reason",
)
MAX_SHEETS = 24  # a larger picture is no longer looked at


class SweepSummary(Callback):
    """Collects the jobs' summaries, after every job in case it is the last; the exit code is 1 where a job failed."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            directory = Path(config.hydra.sweep.dir)
            write_csv(directory / "sweep.csv", read_jobs(directory))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        directory = Path(config.hydra.sweep.dir)
        jobs = read_jobs(directory)
        if not jobs:
            return
        write_csv(directory / "sweep.csv", jobs)
        show_sweep(jobs, directory / "sweep.csv")
        failed = [job for job in jobs if job["status"] != "finished"]
        for job in failed:
            print(f"job {job['job']} {job['status']}: {job['reason']}; see {job['log']}", file=sys.stderr)
        sheets = sorted(directory.glob("*/sheets/*.png"), key=lambda path: (job_number(path.parts[-3]), path.name))
        if sheets:
            stack_sheets([Image.open(path) for path in sheets[:MAX_SHEETS]]).save(directory / "contact_sheet.png")
            show_path("contact sheet", directory / "contact_sheet.png")
        if failed:
            sys.exit(1)


def job_number(name: str) -> float:
    return int(name) if name.isdigit() else float("inf")


def read_jobs(directory: Path) -> list[Row]:
    """One row per job that left a `.hydra` folder, in the order of their numbers."""
    jobs = []
    for hydra in sorted(directory.glob("*/.hydra"), key=lambda path: job_number(path.parent.name)):
        folder = hydra.parent
        summary = {"status": "lost", "reason": "the job ended without a summary"}
        if (folder / "summary.json").exists():
            summary = {"reason": "", **json.loads((folder / "summary.json").read_text())}
        overrides = OmegaConf.load(hydra / "overrides.yaml")
        log = next(iter(folder.glob("*.log")), folder)
        jobs.append({"job": folder.name, "overrides": list(map(str, overrides)), "log": log, **summary})
    return jobs


def write_csv(path: Path, jobs: list[Row]) -> None:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS, extrasaction="ignore", restval="")
    table.writeheader()
    table.writerows(job | {"overrides": " ".join(job["overrides"])} for job in jobs)
    with atomic(path) as stream:
        stream.write(text.getvalue().encode())
