"""How many threads a process may take, so that jobs that share a machine do not slow one another."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = CGROUP) -> int:
    """Cores that this process may use: those it is bound to, and no more than the container's quota comes to."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(bound, int(quota(cgroup))))


def quota(cgroup: Path = CGROUP) -> float:
    """Cores' worth of time that the control group grants, version 2 or 1; a large number where it sets no limit."""
    for quota_file, period_file in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            values = (cgroup / quota_file).read_text(encoding="utf-8").split()
            period = values[1] if period_file is None else (cgroup / period_file).read_text(encoding="utf-8")
            granted = float(values[0]) / float(period)
        except (OSError, ValueError, IndexError):  # not there, or "max"
            continue
        if granted > 0:  # version 1 says -1 for no limit
            return max(1.0, granted)
    return 1e6


def wanted(launcher: Mapping[str, Any], cgroup: Path = CGROUP) -> int | None:
    """Threads for one of the jobs that a launcher runs at once; None where nothing shares the machine.

    submitit says `cpus_per_task`, ray `ray.remote.num_cpus`; joblib says `n_jobs`, how many workers share the cores,
    where a negative number is all but that many minus one.
    """
    if "cpus_per_task" in launcher:
        return launcher["cpus_per_task"] or 1
    if cpus := ((launcher.get("ray") or {}).get("remote") or {}).get("num_cpus"):
        return max(1, int(cpus))
    if "n_jobs" in launcher:
        available, n_jobs = cores(cgroup), launcher["n_jobs"] or 1
        workers = n_jobs if n_jobs > 0 else max(1, available + 1 + n_jobs)
        return max(1, available // workers)
    return None


def limit(threads: int | None) -> None:
    """Let torch take so many threads; None: as many as it wants, but no more than there are cores for it.

    What OMP_NUM_THREADS says stands.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads or min(torch.get_num_threads(), cores()))
