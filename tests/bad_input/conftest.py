"""Bad input as a user gives it: each ends with an exit code and one line on stderr, which these tests look at."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

from adfd.basics.errors import command

STAGES = ("edit", "prepare", "analyze", "evaluate", "export")
Ended = tuple[int, str]
"""Exit code and the one line."""


@pytest.fixture
def adfd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """A command, run in this process on the tiny stack; asserts that it says one line and no traceback."""

    def adfd(*arguments: str, stage: str = "edit", options: Sequence[str] = ()) -> Ended:
        from adfd import commands

        stack = ("model=tiny", "hardware=cpu")
        places = (f"paths.output_dir={tmp_path / 'outputs'}", f"hydra.run.dir={tmp_path / 'run'}")
        given = {item.partition("=")[0].lstrip("+~") for item in arguments}
        defaults = [item for item in (*stack, *places) if item.partition("=")[0] not in given and stage in STAGES]
        name = [] if stage == "edit" else [stage]
        monkeypatch.setattr(sys, "argv", ["adfd", *name, *options, *defaults, *arguments])
        return _end(commands.main, capfd)

    yield adfd
    for handler in logging.getLogger().handlers[:]:  # Hydra's, of a run directory that is gone
        if isinstance(handler, logging.FileHandler):
            logging.getLogger().removeHandler(handler)
            handler.close()


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """A reader as a command runs it: what a user would see of the file."""

    def run(read: Callable[..., Any], *arguments: Any) -> Ended:
        def main() -> int:
            read(*arguments)
            return 0

        return _end(command(main), capfd)

    return run


def _end(main: Callable[[], int], capfd: pytest.CaptureFixture[str]) -> Ended:
    GlobalHydra.instance().clear()
    capfd.readouterr()
    try:
        code: Any = main()
    except SystemExit as exit:
        code = exit.code
    text, code = (str(code), 1) if isinstance(code, str) else ("", int(code or 0))
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err + printed.out, printed.err + printed.out
    lines = [line for line in f"{text}\n{printed.err}".replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert len(lines) == (code == 1), printed.err + printed.out
    return code, lines[0].removeprefix("error: ") if lines else printed.err + printed.out
