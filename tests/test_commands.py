"""The one command with many: its help, and what it says to a word that it does not know."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from adfd import commands

PAGE = Path(__file__).parents[1] / "docs" / "installing.md"


def test_help_lists_every_command_and_the_page_shows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["adfd", "--help"])
    commands.main()
    said = capsys.readouterr().out.strip()
    assert all(f"\n  adfd {name}" in said for name in commands.COMMANDS)
    assert said in PAGE.read_text()


def test_a_word_that_is_no_command_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["adfd", "paint"])
    assert commands.main() == 2
    assert "adfd has no command paint; it has edit, prepare" in capsys.readouterr().err
