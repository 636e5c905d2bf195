from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adfd.basics import threads


def cgroup(folder: Path, version: int, quota: str, period: str = "100000") -> Path:
    if version == 2:
        (folder / "cpu.max").write_text(f"{quota} {period}\n")
    else:
        (folder / "cpu").mkdir()
        (folder / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu/cpu.cfs_period_us").write_text(f"{period}\n")
    return folder


@pytest.mark.parametrize(
    ("version", "quota", "cores"),
    [(2, "max", 1e6), (1, "-1", 1e6), (2, "400000", 4), (1, "250000", 2.5), (2, "50000", 1), (2, "nonsense", 1e6)],
)
def test_the_quota_of_the_control_group(tmp_path: Path, version: int, quota: str, cores: float) -> None:
    assert threads.quota(cgroup(tmp_path, version, quota)) == cores


def test_no_control_group_is_no_limit(tmp_path: Path) -> None:
    assert threads.quota(tmp_path) == 1e6


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        ({}, None),
        ({"n_jobs": 1}, 8),
        ({"n_jobs": 2}, 4),
        ({"n_jobs": 3}, 2),
        ({"n_jobs": 20}, 1),
        ({"n_jobs": -1}, 1),
        ({"n_jobs": -7}, 4),
        ({"cpus_per_task": 6}, 6),
        ({"cpus_per_task": None}, 1),
        ({"ray": {"remote": {"num_cpus": 3}}}, 3),
        ({"ray": {"init": {}}}, None),
    ],
)
def test_workers_share_the_cores(
    launcher: dict, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: range(64), raising=False)
    assert threads.wanted(launcher, cgroup(tmp_path, 2, "800000")) == expected


def test_what_the_environment_says_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", said.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    threads.limit(5)
    monkeypatch.delenv("OMP_NUM_THREADS")
    threads.limit(5)
    monkeypatch.setattr(threads, "cores", lambda: 1)
    threads.limit(None)
    assert said == [5, 1]
