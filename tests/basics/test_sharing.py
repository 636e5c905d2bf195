"""Files that several processes want are made once."""

from __future__ import annotations

from pathlib import Path
from threading import Timer

import pytest

from adfd.basics.files import lock
from adfd.basics.sharing import LOCK, unfinished


def content(file: Path) -> str | None:
    return file.read_text() if file.exists() else None


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name / "file" for name in "abcd"]
    for file in made:
        file.parent.mkdir()
    return made


def test_what_is_there_is_not_made_and_what_is_made_is_locked(files: list[Path]) -> None:
    files[1].write_text("there")
    made = []
    for batch in unfinished(files, 2, content):
        made.append(batch)
        assert not set(batch) & set(unfinished_now(files))
    assert made == [[files[0]], [files[2], files[3]]]


def unfinished_now(files: list[Path]) -> list[Path]:
    """What another process could begin with now."""
    return next(unfinished(files, len(files), content), [])


@pytest.mark.parametrize("other_makes_it", [True, False])
def test_what_another_process_makes_comes_last_and_only_if_it_was_not_made(
    files: list[Path], other_makes_it: bool
) -> None:
    other = lock(files[0].parent / LOCK)

    def ended() -> None:
        if other_makes_it:
            files[0].write_text("by the other")
        other.close()

    timer = Timer(0.3, ended)
    made = []
    for batch in unfinished(files, 3, content):
        made += batch
        if len(made) == 3:
            timer.start()
    timer.join()
    assert made == files[1:] + ([] if other_makes_it else files[:1])
