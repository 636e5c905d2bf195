"""What is to be doubted about an output is said on sheets, in tables and on the terminal, not on the page alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from adfd.config.sweep import COLUMNS
from adfd.evaluate import redraw_sheets
from adfd.report.figures import _first_output, contact_sheet
from adfd.report.paper_tables import by_quantity
from adfd.runs.console import note, show_sweep
from adfd.runs.sheets import mark, outputs_sheet
from tests.report.test_run_page import doubted, made_job


def test_the_contact_sheet_has_the_independent_reading_and_the_marks(tmp_path: Path) -> None:
    job = doubted(made_job(tmp_path / "a"))
    row = job.rows[0]
    (tile,) = _first_output(job, "a", "ann", 20.0)
    assert f"reads {row['age']:.1f}, identity" in tile.detail
    assert tile.more == f"independently {row['panel_age']:.1f} years"
    assert tile.mark == "not reached, judges disagree"
    (plain,) = _first_output(made_job(tmp_path / "b"), "b", "ann", 20.0)
    assert plain.mark == plain.more == ""
    assert contact_sheet([job, made_job(tmp_path / "c")], 2, 2)


def test_a_run_s_own_sheet_is_drawn_again_with_them(tmp_path: Path) -> None:
    job = doubted(made_job(tmp_path / "a"))
    rows = [row | {"reference": None} for row in job.rows[:2]]
    plain = [{key: value for key, value in row.items() if not key.startswith("panel")} for row in rows]
    with_them, without = outputs_sheet(job.directory, rows), outputs_sheet(job.directory, plain)
    assert with_them.width == without.width
    assert with_them.height > without.height
    (tmp_path / "a/sheets").mkdir()
    without.save(tmp_path / "a/sheets/ann_age20.png")
    redraw_sheets(replace(job, rows=rows))
    with Image.open(tmp_path / "a/sheets/ann_age20.png") as sheet:
        assert sheet.height == with_them.height
    assert not (tmp_path / "a/sheets/ann_age70.png").exists()


def test_tables_count_what_did_not_reach_its_age(tmp_path: Path) -> None:
    jobs = [doubted(made_job(tmp_path / "a", "loss.aging=1")), made_job(tmp_path / "b", "loss.aging=5")]
    notes = [text for text in by_quantity(jobs, ["age_error"]).notes if "short of" in text]
    assert len(notes) == 1
    assert notes[0].endswith(": 1 of 8 outputs ended short of the target age")


def test_the_terminal_and_sweeps_say_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert note({"reason": "", "reached": False}) == "not reached"
    assert note({"reason": "no face", "reached": False}) == "no face"
    assert note({"reason": "", "reached": True}) == note({"reason": "", "reached": None}) == ""
    assert mark({"reached": False}) == "not reached"
    assert mark({}) == ""
    assert "not_reached" in COLUMNS
    show_sweep([{"job": "0", "status": "finished", "overrides": ["a=1"], "not_reached": 3}], tmp_path / "sweep.csv")
    assert "not reached" in capsys.readouterr().out
