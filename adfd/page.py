"""Command "page": a run or a sweep as one HTML page, also while it runs. `adfd page SWEEP [--live]`.

The page is a file and needs no server: with `--live` it is rewritten every few seconds and reloads itself. The command
measures nothing, but shows the measurements of `adfd evaluate`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from adfd.basics.errors import AdfdError, command
from adfd.basics.files import held, read_rows
from adfd.config import build_evaluate, build_shared, schema
from adfd.config.foreign_run import record
from adfd.evaluation.jobs import Job, find_runs, latest_rows, make_job
from adfd.report.run_page import write_report
from adfd.runs.console import show_path

schema.register()


@command
def main() -> int:
    """Write the page and print its path; with --live repeat until no job runs. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="adfd page", description="A run or a sweep as one page to look at.")
    parser.add_argument("runs", nargs="+", type=Path, help="directory of a run, a sweep, or a folder above them")
    parser.add_argument("--output", type=Path, help="the page; without it, page.html in the first directory")
    parser.add_argument("--live", action="store_true", help="rewrite it until no job runs")
    parser.add_argument("--every", type=int, default=5, metavar="SECONDS", help="interval of --live (5)")
    asked = parser.parse_args()
    page = asked.output or asked.runs[0] / "page.html"
    try:
        if asked.every < 1:
            raise AdfdError(f"--every must be at least 1, got {asked.every}")
        while asked.live and not begun(asked.runs):
            time.sleep(asked.every)
        running = write(asked.runs, page, asked.every if asked.live else 0)
        show_path("page", page)
        while asked.live and running:
            time.sleep(asked.every)
            running = write(asked.runs, page, asked.every)
    except KeyboardInterrupt:
        if begun(asked.runs):
            write(asked.runs, page, 0)  # a last version, which no longer reloads itself
    return 0


def begun(runs: Sequence[Path]) -> bool:
    """True where there is a run to show, False for a sweep without jobs. Raises AdfdError where there is neither."""
    try:
        return bool(find_runs(runs))
    except AdfdError:
        if all((path / "sweep_id").is_file() for path in runs):
            return False
        raise


def write(runs: Sequence[Path], page: Path, every: int) -> bool:
    """Write the page in the runs' current state; returns True where a job is running.

    While one is running the page reloads itself after `every` seconds, if that is above 0.
    """
    jobs = read(runs)
    running = any(job.status == "running" for job in jobs)
    title = ", ".join(path.resolve().name for path in runs)
    write_report(title, jobs, page, {}, state(jobs, every) if every and running else "", refresh=every * running)
    return running


def read(runs: Sequence[Path]) -> list[Job]:
    """The jobs in their current state on disk, with their measurements."""
    cfg = _config()
    bootstrap = build_shared.settings(cfg.bootstrap)
    jobs = []
    for directory in find_runs(runs):
        told = record(directory, Path(cfg.paths.root), [])
        how = build_evaluate.measuring(cfg, told)
        rows = how.complete(directory, latest_rows(directory))
        job = make_job(told, rows, how.own, how.labels, bootstrap)
        if job.status == "running" and not held(directory / ".lock"):
            job = lost(job)
        jobs.append(job)
    return jobs


def lost(job: Job) -> Job:
    """The job, of status running but without a process, with status lost."""
    return replace(job, status="lost", reason="it ended without a summary, as a killed job does")


def state(jobs: Sequence[Job], every: int) -> str:
    """The numbers of jobs and outputs, and the progress of the running jobs, as one paragraph."""
    counts = ", ".join(f"{n} {status}" for status, n in Counter(job.status for job in jobs).items())
    made = sum(row["status"] == "ok" for job in jobs for row in job.rows)
    parts = [f"As of {datetime.now():%H:%M:%S}, updated every {every} s. Jobs: {counts}; {made} outputs are finished."]
    for job in jobs:
        if job.status == "running" and (steps := read_rows(job.directory / "steps.jsonl")):
            now = steps[-1]
            parts.append(
                f"Job {job.name} is at step {now['step']} of {now['photo']} at {now['target_age']:g}, "
                f"output {now['output']}, which reads {now.get('age', float('nan')):.1f}."
            )
    return " ".join(parts)


@cache
def _config() -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(schema.CONF), version_base="1.3"):
        return compose("evaluate", ["judges=run", "hardware=cpu"])


if __name__ == "__main__":
    sys.exit(main())
