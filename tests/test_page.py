"""`adfd page`: one file to look at, of what is done and of what goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adfd import page
from adfd.basics.files import append_line, lock
from tests.conftest import QUICK

SHORT = (
    *QUICK,
    "data=faces",
    "data.seeds=[1]",
    "n_outputs=1",
    "refine.max_steps=2",
    "logger=csv",
    "logger.every_n_steps=1",
)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["adfd page", *arguments])
    return page.main()


def test_a_run_that_goes_on_loads_itself_again_until_it_ends(
    run_stage: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_stage(*SHORT)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"status": "running"}))
    append_line(run / "steps.jsonl", {"photo": "seed1", "target_age": 70.0, "output": 4, "step": 7, "age": 61.25})
    seen: list[str] = []

    def meanwhile(seconds: float) -> None:
        assert seconds == 3
        seen.append((run / "page.html").read_text())
        (run / "summary.json").write_text(json.dumps(summary))

    monkeypatch.setattr(page.time, "sleep", meanwhile)
    held = lock(run / ".lock")
    assert call(monkeypatch, str(run), "--live", "--every", "3") == 0
    held.close()
    assert len(seen) == 1
    assert 'http-equiv="refresh" content="3"' in seen[0]
    assert "Job run is at step 7 of seed1 at 70, output 4, which reads 61.2." in seen[0]
    last = (run / "page.html").read_text()
    assert 'http-equiv="refresh"' not in last
    assert last.count('class="face"') == 1
    assert capsys.readouterr().out.endswith(f"\npage: {run / 'page.html'}\n")


def test_a_killed_run_is_lost_and_not_waited_for(
    run_stage: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = run_stage(*SHORT)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"status": "running"}))
    assert call(monkeypatch, str(run), "--live", "--output", str(tmp_path / "elsewhere.html")) == 0
    assert "ended without a summary" in (tmp_path / "elsewhere.html").read_text()


def test_a_sweep_whose_first_job_has_not_begun_is_waited_for(
    run_stage: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "sweep_id").write_text("sweep-abc")
    run = run_stage(*SHORT)
    slept: list[float] = []

    def meanwhile(seconds: float) -> None:
        slept.append(seconds)
        run.rename(sweep / "0")

    monkeypatch.setattr(page.time, "sleep", meanwhile)
    assert call(monkeypatch, str(sweep), "--live") == 0
    assert slept == [5]
    assert (sweep / "page.html").exists()


def test_mistakes_are_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, str(tmp_path)) == 1
    assert "holds no run directory" in capsys.readouterr().err
