from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sweeps import done, finish, rows, run, start

from tests.cluster.conftest import SWEEP, until

pytestmark = pytest.mark.cluster


def test_a_node_lost_in_mid_sweep_costs_no_row(
    ray_nodes: tuple[str, Callable[[], None]], environment: dict[str, str], tmp_path: Path
) -> None:
    address, kill_second = ray_nodes
    plain, sweep = tmp_path / "plain", tmp_path / "ray"
    chosen = ("hydra/launcher=ray_cluster", f"hydra.launcher.ray.init.address={address}")
    process = start(sweep, environment, *SWEEP, *chosen)
    until(lambda: all(done(sweep, job) >= 6 for job in "0123"), 200, "six rows of each job, two on each node")
    kill_second()
    code, out, err = finish(process)
    assert code == 0, out + err
    assert "repeated" not in out + err
    ended = [line for line in out.splitlines() if line.startswith("job ") and " finished: 24 outputs, " in line]
    assert len(ended) == 4
    logs = [(sweep / job / "edit.log").read_text() for job in "0123"]
    assert sum("goes on, " in log for log in logs) == 2
    run(plain, environment, *SWEEP)
    assert rows(sweep) == rows(plain)
