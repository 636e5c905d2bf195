"""A multirun: a folder for each job by its config's hash, what may be resumed; at its end `sweep.csv` and the failures.

Hydra calls `SweepSummary` as a callback and `job_folder` as `${job_folder:...}`. A sweep's directory holds
0/ 1/ 2/ ...    a run directory for each job
sweep.csv       one row for each job, written anew whenever one starts or ends
sweep_id        its name in W&B, the same however often it is resumed
wandb/          a link to each W&B run of its jobs, for `wandb leet` to show them side by side
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
MAX_SHEETS = 24  # a larger picture is no longer looked at


def job_folder(sweep: str, number: int, *, _root_: DictConfig) -> str:
    """The folder of the job with this config: the one that it has already, or a new one, named by the next number.

    A folder is identified by the `config_hash` in it, so a job finds its own whatever its number is now.
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
    except AdfdError:  # a value is missing, as the job itself will tell
        return config_hash(OmegaConf.to_container(cfg, resolve=False))  # type: ignore[arg-type]


def owner(config: DictConfig, stage: str) -> str:
    """The hash under which a stage's folder is its own: of a run, or of a folder of pictures that is evaluated.

    No folder of a run is any other stage's.
    """
    if stage == EDIT:  # not by the job's name, which Lightning changes in its other ranks
        return own_hash(config)
    if stage == EVALUATE and config.source == "folder":
        try:
            return config_hash(build_shared.pictures(config))
        except AdfdError:  # a value is missing, as the job itself will tell
            return ""
    return ""


class SweepSummary(Callback):
    """Guards the directory, and collects the jobs' summaries; the exit code is 1 where a job did not finish."""

    lock: ClassVar[IO[str] | None] = None  # the instance is sent to worker processes
    told: ClassVar[Callable[[], None]] = staticmethod(lambda: None)
    """Ends the lines of jobs that run where their output is not seen."""

    def on_run_start(self, config: DictConfig, config_name: str = "", **kwargs: Any) -> None:
        """Refuse a folder that is another configuration's before Hydra writes its files there."""
        try:
            check_owner(Path(config.hydra.run.dir), owner(config, config_name))
        except (AdfdError, OSError) as error:
            sys.exit(f"error: {error}")  # Hydra takes other exceptions of a callback for warnings

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        directory = Path(config.hydra.sweep.dir)
        try:
            SweepSummary.lock = None  # of a sweep that was interrupted in this process
            check_reach(directory, config.hydra.launcher)
            directory.mkdir(parents=True, exist_ok=True)
            SweepSummary.lock = lock(directory / ".lock")
            begin(directory, OmegaConf.select(config, "sweep.resume"))
        except (AdfdError, OSError) as error:
            sys.exit(f"error: {error}")  # Hydra takes other exceptions of a callback for warnings
        atexit.unregister(report)
        atexit.register(report, directory)  # after Ctrl-C, or where a launcher lost a worker
        for number in (signal.SIGINT, signal.SIGTERM):  # while worker processes have the jobs
            signal.signal(number, lambda *_: sys.exit(INTERRUPTED))
        launcher = config.hydra.launcher.get("_target_", "")
        if "Slurm" in launcher:
            from adfd.config import slurm  # submitit is an extra

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
    """The folder of each job that ended, and its status in a line."""
    for file in sorted(directory.glob("*/summary.json"), key=lambda path: job_number(path.parent.name)):
        summary = read_summary(file.parent)
        if summary.get("status") != "running":
            told = [f"{summary['outputs']} outputs"] if summary.get("outputs") is not None else []
            told += [f"harmonic {summary['harmonic']:.2f}"] if summary.get("harmonic") is not None else []
            told += [summary["reason"]] if summary.get("reason") else []
            yield file.parent, f"job {file.parent.name} {summary.get('status')}: {', '.join(told)}".rstrip(": ")


def never_began(jobs: list[Row]) -> list[str]:
    """A line for each job that Slurm dropped before it had a folder."""
    slurm = sys.modules.get("adfd.config.slurm")
    there = [set(job["overrides"]) for job in jobs]
    return [
        f"never began: {' '.join(asked)} (Slurm's job {number})"
        for number, overrides in (slurm.lost if slurm else [])
        if set(asked := [item for item in overrides if not item.startswith("sweep.")]) not in there
    ]


def check_reach(directory: Path, launcher: DictConfig) -> None:
    """Refuse a relative folder where jobs run in processes that were started elsewhere: a running Ray cluster's."""
    if OmegaConf.select(launcher, "ray.init.address") and not directory.is_absolute():
        raise AdfdError(
            f"hydra.sweep.dir={directory} is relative, and a Ray cluster's nodes work in folders of their own; "
            "give absolute paths"
        )


def begin(directory: Path, resume: bool | None) -> None:
    """Give the sweep its id, or go on with it. Raises AdfdError where that was not asked for, OSError on a bad disk."""
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
    """Write and show the status of all jobs. True where a job of this start did not finish."""
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
    link_wandb(directory)  # of jobs that were run before there were links, too
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
    """One row per job that left a `.hydra` folder, in the order of their folders' numbers."""
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
    """The row of a job, with `lost` in place of `running` where no process is at it."""
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
