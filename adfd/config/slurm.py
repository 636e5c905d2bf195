"""States of Slurm jobs for submitit from `squeue`, which works without an accounting database.

A job that has left the queue without a result was killed: it counts as lost, and the sweep does not wait for it.
"""

from __future__ import annotations

import os
import time
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from submitit.core.utils import FailedJobError, UncompletedJobError
from submitit.slurm import slurm as submitit_slurm
from submitit.slurm.slurm import SlurmExecutor, SlurmInfoWatcher, SlurmJob

SLOW_DISK = 15  # seconds that a result may take to appear on a network disk after its job ended


class Queue(SlurmInfoWatcher):
    """States of jobs by `squeue`: RUNNING for a job that it lists in any state, GONE for one that it does not list."""

    def __init__(self, delay_s: int) -> None:
        super().__init__(delay_s)
        self.missed: dict[str, float] = {}
        """Time, in seconds since the epoch, at which a job was first found to be gone."""

    def _make_command(self) -> list[str] | None:
        if not self._registered - self._finished:
            return None
        return ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        queued = set((string.decode() if isinstance(string, bytes) else string).split())
        for job in self._registered:
            if job in queued:
                self.missed.pop(job, None)
            else:
                self.missed.setdefault(job, time.time())
        return {job: {"State": "RUNNING" if job in queued else "GONE"} for job in self._registered}


class Job(SlurmJob[Any]):
    """A job that gives an empty result where its process ended without a result."""

    watcher = Queue(delay_s=30)

    @property
    def _results_timeout_s(self) -> float:
        return max(0.0, SLOW_DISK - (time.time() - self.watcher.missed.get(self.job_id, time.time())))

    def results(self) -> list[JobReturn]:
        try:
            return super().results()
        except (UncompletedJobError, FailedJobError):
            lost.append((self.job_id, list(self.submission().args[0])))
            return [JobReturn(status=JobStatus.COMPLETED)]


lost: list[tuple[str, list[str]]] = []
"""Slurm's job number and the overrides of each job of this process's sweep that ended without a result."""


def heed_the_queue() -> None:
    """Make submitit's Slurm executor use `Job`: `job_class` for single jobs, the name in its module for job arrays."""
    lost.clear()
    SlurmExecutor.job_class = submitit_slurm.SlurmJob = Job
