"""Number of threads of a process, so that jobs on one machine do not slow each other down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = CGROUP) -> int:
    """Cores that this process may use: the smaller of its CPU affinity and the container's quota, at least 1."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(bound, int(quota(cgroup))))


def quota(cgroup: Path = CGROUP) -> float:
    """CPU quota of the control group (version 2 or 1), in cores, at least 1; 1e6 without a limit."""
    for quota_file, period_file in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            values = (cgroup / quota_file).read_text(encoding="utf-8").split()
            period = values[1] if period_file is None else (cgroup / period_file).read_text(encoding="utf-8")
            granted = float(values[0]) / float(period)
        except (OSError, ValueError, IndexError):  # the file is missing, or says "max"
            continue
        if granted > 0:  # version 1 says -1 for no limit
            return max(1.0, granted)
    return 1e6


def wanted(launcher: Mapping[str, Any], cgroup: Path = CGROUP) -> int | None:
    """Threads for each of the jobs that a launcher runs in parallel; None where jobs run one at a time.

    `launcher` holds the settings of a Hydra launcher. submitit's `cpus_per_task` and ray's `ray.remote.num_cpus` are
    taken as they are; joblib's `n_jobs` workers share the cores (-1: as many workers as cores, -2: one fewer, ...).
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
    """Set torch's number of threads; None keeps torch's own choice, but at most one thread per available core.

    OMP_NUM_THREADS takes precedence.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads or min(torch.get_num_threads(), cores()))
