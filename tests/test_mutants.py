"""The mutants still break something: their texts stand in the source, and their tests exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import CHECKOUT, MUTANTS, Mutant, UnjudgedError, place


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_a_mutant_has_its_place(mutant: Mutant) -> None:
    assert place(mutant, CHECKOUT).is_file()
    assert all((CHECKOUT / "tests" / file).is_file() for file in mutant.tests.split())


def test_a_text_that_moved_away_or_stands_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / "adfd").mkdir()
    source = tmp_path / "adfd" / "a.py"
    for text, where in (("x = 2\n", "nowhere"), ("x = 1\nx = 1\n", "adfd/a.py, adfd/a.py")):
        source.write_text(text)
        with pytest.raises(UnjudgedError, match=f"a mistake: 'x = 1' must stand once in adfd/, and stands in: {where}"):
            place(Mutant("a mistake", "x = 1", "x = 3", "test_mutants.py"), tmp_path)
    source.write_text("x = 1\n")
    assert place(Mutant("a mistake", "x = 1", "x = 3", "test_mutants.py"), tmp_path) == source
