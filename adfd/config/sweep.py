"""Multiruns: the folder of each job, found by its config's hash; resuming; `sweep.csv` and the report of failures.

Hydra calls `SweepSummary` as a callback and `job_folder` as `${job_folder:...}`. A sweep's directory contains
0/ 1/ 2/ ...    a run directory for each job
sweep.csv       one row for each job, rewritten whenever a job starts or ends
sweep_id        the sweep's name in W&B, which stays the same when it is resumed
wandb/          a link to each W&B run of its jobs, for `wandb leet` to show them together
"""

from __future__ import annotations

import atexit
import copy
import csv
import io
import secrets
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any, ClassVar

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from PIL import Image

from adfd.basics.errors import INTERRUPTED, AdfdError
from adfd.basics.files import Row, atomic, cell, held, lock
from adfd.config import build_shared
from adfd.runs.console import show_path, show_sweep
from adfd.runs.directory import check_owner, config_hash, latest_outputs, link_wandb, read_summary
from adfd.runs.sheets import stack_sheets

COLUMNS = (
    "job",
    "overrides",
    "status",
    "outputs",
    "failures",
    "not_reached",
    "age_error",
    "id_similarity_source",
    "id_similarity_anchor",
    "harmonic",
    "diversity",
    "seconds",
    "reason",
    "hash",
    "sweep_id",
)
EDIT, EVALUATE = "edit", "evaluate"  # stages whose folders belong to a configuration
MAX_SHEETS = 24  # a larger picture is unreadable


def job_folder(sweep: str, number: int, *, _root_: DictConfig) -> str:
    """The folder of the job with this config: its existing one, or a new one named by the next free number.

    Folders are identified by their `config_hash`, so that a job finds its own even if its number has changed.
    """
    directory, own = Path(sweep), own_hash(_root_)
    directory.mkdir(parents=True, exist_ok=True)
    with lock(directory / ".folders", wait=True):
        owners = {mark.read_text(encoding="utf-8"): mark.parent.name for mark in directory.glob("*/config_hash")}
        if own not in owners:
            owners[own] = next(str(n) for n in count(number) if not (directory / str(n) / "config_hash").exists())
            folder = directory / owners[own]
            folder.mkdir(exist_ok=True)
            (folder / "config_hash").write_text(own, encoding="utf-8")
        return owners[own]


def own_hash(config: DictConfig) -> str:
    """`config_hash` of a job that has not started yet."""
    cfg = copy.deepcopy(config)
    with read_write(cfg), open_dict(cfg):
        del cfg["hydra"]
    try:
        return config_hash(build_shared.identity(cfg))
    except AdfdError:  # a value is missing, which the job itself will report
        return config_hash(OmegaConf.to_container(cfg, resolve=False))  # type: ignore[arg-type]


def owner(config: DictConfig, stage: str) -> str:
    """The hash that marks a folder as belonging to this run, or to this evaluation of a folder of pictures.

    Empty for other stages, which may not write to a run's folder.
    """
    if stage == EDIT:  # not the job's name, which Lightning changes in other ranks
        return own_hash(config)
    if stage == EVALUATE and config.source == "folder":
        try:
            return config_hash(build_shared.pictures(config))
        except AdfdError:  # a value is missing, which the job itself will report
            return ""
    return ""


class SweepSummary(Callback):
    """Locks the sweep's directory and collects the jobs' summaries; exit code 1 where a job did not finish."""

    lock: ClassVar[IO[str] | None] = None  # the instance is sent to worker processes
    told: ClassVar[Callable[[], None]] = staticmethod(lambda: None)
    """Stops the thread that prints a line for each job that ended, where the jobs' own output is not shown."""

    def on_run_start(self, config: DictConfig, config_name: str = "", **kwargs: Any) -> None:
        """End the program where the folder belongs to another configuration, before Hydra writes to it."""
        try:
            check_owner(Path(config.hydra.run.dir), owner(config, config_name))
        except (AdfdError, OSError) as error:
            sys.exit(f"error: {error}")  # Hydra takes other exceptions of a callback for warnings

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        directory = Path(config.hydra.sweep.dir)
        try:
            SweepSummary.lock = None  # it remains where an earlier sweep of this process was interrupted
            check_reach(directory, config.hydra.launcher)
            directory.mkdir(parents=True, exist_ok=True)
            SweepSummary.lock = lock(directory / ".lock")
            begin(directory, OmegaConf.select(config, "sweep.resume"))
        except (AdfdError, OSError) as error:
            sys.exit(f"error: {error}")  # Hydra takes other exceptions of a callback for warnings
        atexit.unregister(report)
        atexit.register(report, directory)  # for Ctrl-C, and launchers that lost a worker
        for number in (signal.SIGINT, signal.SIGTERM):  # while worker processes run the jobs
            signal.signal(number, lambda *_: sys.exit(INTERRUPTED))
        launcher = config.hydra.launcher.get("_target_", "")
        if "Slurm" in launcher:
            from adfd.config import slurm  # needs submitit, an optional package

            slurm.heed_the_queue()
        if "submitit" in launcher or "ray" in launcher:
            SweepSummary.told = staticmethod(tell_ends(directory))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            directory = Path(config.hydra.sweep.dir)
            write_csv(directory / "sweep.csv", read_jobs(directory))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        self.on_job_start(config)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        atexit.unregister(report)
        SweepSummary.told()
        try:
            failed = report(Path(config.hydra.sweep.dir))
        except OSError as error:
            sys.exit(f"error: {error}")
        SweepSummary.lock = None
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if failed:
            sys.exit(1)


def tell_ends(directory: Path) -> Callable[[], None]:
    """Print a line whenever a job ends, until the returned function is called."""
    over, said = threading.Event(), dict(ends(directory))

    def tell() -> None:
        last = False
        while not last:
            last = over.wait(2)
            for folder, line in ends(directory):
                if said.get(folder) != line:
                    print(line, flush=True)
                said[folder] = line

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()

    def stop() -> None:
        over.set()
        thread.join()

    return stop


def ends(directory: Path) -> Iterator[tuple[Path, str]]:
    """The folder of each job that has ended, and a line with its status."""
    for file in sorted(directory.glob("*/summary.json"), key=lambda path: job_number(path.parent.name)):
        summary = read_summary(file.parent)
        if summary.get("status") != "running":
            told = [f"{summary['outputs']} outputs"] if summary.get("outputs") is not None else []
            told += [f"harmonic {summary['harmonic']:.2f}"] if summary.get("harmonic") is not None else []
            told += [summary["reason"]] if summary.get("reason") else []
            yield file.parent, f"job {file.parent.name} {summary.get('status')}: {', '.join(told)}".rstrip(": ")


def never_began(jobs: list[Row]) -> list[str]:
    """A line for each job that Slurm lost before it had a folder."""
    slurm = sys.modules.get("adfd.config.slurm")
    there = [set(job["overrides"]) for job in jobs]
    return [
        f"never began: {' '.join(asked)} (Slurm's job {number})"
        for number, overrides in (slurm.lost if slurm else [])
        if set(asked := [item for item in overrides if not item.startswith("sweep.")]) not in there
    ]


def check_reach(directory: Path, launcher: DictConfig) -> None:
    """Raise AdfdError for a relative folder on a running Ray cluster, whose workers have other working directories."""
    if OmegaConf.select(launcher, "ray.init.address") and not directory.is_absolute():
        raise AdfdError(
            f"hydra.sweep.dir={directory} is relative, and a Ray cluster's nodes work in folders of their own; "
            "give absolute paths"
        )


def begin(directory: Path, resume: bool | None) -> None:
    """Start a sweep by giving it an id, or resume it.

    Raises AdfdError where the folder has a sweep and `resume` is not true, OSError where it cannot be written.
    """
    jobs = [settled(job) for job in read_jobs(directory)]
    if jobs and not resume:
        remedy = "" if resume is None else "sweep.resume=true goes on with them, or "
        raise AdfdError(f"{directory} holds {len(jobs)} jobs of a sweep; {remedy}choose another hydra.sweep.dir")
    mark = directory / "sweep_id"
    if not mark.exists():
        mark.write_text(f"{directory.name}-{secrets.token_hex(3)}", encoding="utf-8")
    write_csv(directory / "sweep.csv", jobs)
    if jobs:
        states = ", ".join(f"{n} {status}" for status, n in Counter(job["status"] for job in jobs).items())
        print(f"sweep {mark.read_text(encoding='utf-8')} goes on: {states}")


def report(directory: Path) -> bool:
    """Write and print the status of all jobs. Returns True where a job of this start did not finish."""
    jobs = [settled(job) for job in read_jobs(directory)]
    missing = never_began(jobs)
    for line in missing:
        print(line, file=sys.stderr)
    if not jobs:
        return bool(missing)
    write_csv(directory / "sweep.csv", jobs)
    show_sweep(jobs, directory / "sweep.csv")
    if any(directory.glob("*/wandb/offline-run-*")):
        show_path("to W&B", Path(f"wandb sync {directory}/*/wandb/offline-run-*"))
    link_wandb(directory)  # also for jobs of versions that made no links
    if (directory / "wandb").exists():
        show_path("in this terminal", Path(f"wandb leet {directory}/wandb"))
    sheets = sorted(directory.glob("*/sheets/*.png"), key=lambda path: (job_number(path.parts[-3]), path.name))
    if sheets:
        stack_sheets([Image.open(path) for path in sheets[:MAX_SHEETS]]).save(directory / "contact_sheet.png")
        show_path("contact sheet", directory / "contact_sheet.png")
    for job in jobs:
        if job["reason"] and job["started"]:
            print(f"job {job['job']} {job['status']}: {job['reason']}; see {job['log']}", file=sys.stderr)
    if left := [job["job"] for job in jobs if job["status"] != "finished" and not job["started"]]:
        print(f"not finished, and not asked for this time: job {', '.join(left)}", file=sys.stderr)
    unfinished = bool(missing) or any(job["status"] != "finished" and job["started"] for job in jobs)
    if unfinished:
        print(f"to go on: the same command with hydra.sweep.dir={directory} sweep.resume=true", file=sys.stderr)
    return unfinished


def job_number(name: str) -> float:
    return int(name) if name.isdigit() else float("inf")


def read_jobs(directory: Path) -> list[Row]:
    """One row per job with a `.hydra` folder, sorted by folder number."""
    jobs = []
    mark, clock = directory / "sweep_id", directory / ".lock"
    for file in sorted(directory.glob("*/.hydra/overrides.yaml"), key=lambda path: job_number(path.parts[-3])):
        folder = file.parents[1]
        results = latest_outputs(folder).values()
        failed = [row for row in results if row["status"] != "ok"]
        jobs.append(
            {
                "job": folder.name,
                "folder": folder,
                "overrides": [item for item in map(str, OmegaConf.load(file)) if not item.startswith("sweep.")],
                "log": next(iter(folder.glob("*.log")), folder),
                "started": file.stat().st_mtime_ns >= clock.stat().st_mtime_ns if clock.exists() else True,
                "hash": (folder / "config_hash").read_text(encoding="utf-8")
                if (folder / "config_hash").exists()
                else "",
                "sweep_id": mark.read_text(encoding="utf-8") if mark.exists() else "",
                "status": "running",
                "outputs": len(results) - len(failed) if (folder / "results.jsonl").exists() else None,
                "reason": f"{len(failed)} outputs failed: {failed[0]['reason']}" if failed else "",
                **{key: value for key, value in read_summary(folder).items() if value != ""},
            }
        )
    return jobs


def settled(job: Row) -> Row:
    """The row of a job, with status lost instead of running where no process holds its folder."""
    if job["status"] != "running":
        return job
    if held(job["folder"] / ".lock"):
        return job | {"reason": "another process is at it"}
    return job | {"status": "lost", "reason": "it ended without a summary, as a killed job does"}


def write_csv(path: Path, jobs: list[Row]) -> None:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS, extrasaction="ignore", restval="")
    table.writeheader()
    for job in jobs:
        told = job | {"overrides": " ".join(job["overrides"])}
        table.writerow({key: cell(value) if isinstance(value, str) else value for key, value in told.items()})
    with atomic(path) as stream:
        stream.write(text.getvalue().encode())
