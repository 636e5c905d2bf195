"""JSON lines: any text survives, and no damage does more than lose its own line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adfd.basics.files import append_line, cell, end_line, read_rows

quick = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(st.lists(st.text() | st.sampled_from(["\u2028", "a\x85b", "\x0b\x0c\x1c", "日本語", "\ud800"]), max_size=4))
def test_every_name_is_read_back(tmp_path: Path, names: list[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.unlink(missing_ok=True)
    for name in names:
        append_line(file, {"photo": name})
    assert [row["photo"] for row in read_rows(file)] == names


@quick
@given(st.binary(max_size=60) | st.sampled_from([b"[" * 100_000, b"5\n[]\nnull", b"1" * 5000, b"\xff\xfe{}"]))
def test_damage_loses_its_own_line_alone(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n' + damage)
    end_line(file)
    append_line(file, {"a": 2})
    rows = read_rows(file)
    assert rows[0] == {"a": 1}
    assert rows[-1] == {"a": 2}
    assert all(isinstance(row, dict) for row in rows)


@pytest.mark.thorough
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_text_is_utf_8_whatever_the_locale(tmp_path: Path, encoding: str) -> None:
    """A whole run under another locale, where no file of ours is opened without its encoding being named."""
    run = tmp_path / "run"
    photo = ("data=faces", "data.seeds=[1]", "method=transform", "logger=csv", f"paths.output_dir={tmp_path}")
    flags = ["-X", "warn_default_encoding", "-W", "always::EncodingWarning"]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, *flags, "-m", "adfd", "model=tiny", "hardware=cpu", *photo, f"hydra.run.dir={run}"]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    warned = [line for line in done.stderr.decode().splitlines() if "EncodingWarning" in line and "/adfd/" in line]
    assert not warned
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert cell(f"a{text}") == f"a{text}"
    assert cell("\udcff") == "\\udcff"
    assert cell("") == ""
