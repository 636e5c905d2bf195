"""Files of arrays: what they claim is checked before anything is allocated."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adfd.basics.arrays import read_arrays
from adfd.basics.errors import AdfdError

quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def packed(members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return stream.getvalue()


def array(shape: str, kind: str = "<f4", data: bytes = b"") -> bytes:
    """An array's file with any header."""
    told = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(told)) + told + data


def test_arrays_are_those_that_numpy_wrote(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float16).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "empty": np.zeros((0, 3)),
        "scalar": np.array(3),
        "name": np.array("tiny-0"),
        "mask": np.array([True, False]),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        read = read_arrays(tmp_path / "a.npz")
        assert list(read) == list(arrays)
        for name, value in arrays.items():
            assert np.array_equal(read[name], value)
            assert read[name].dtype == value.dtype
        read["a"][0] = 1  # theirs to change


BAD = {
    "claims a terabyte": packed({"a.npy": array("(250000000000,)")}),
    "claims many dimensions": packed({"a.npy": array("(" + "9," * 60 + ")")}),
    "claims less than there is": packed({"a.npy": array("(1,)", data=b"12345678")}),
    "negative": packed({"a.npy": array("(-1, -1)", data=b"1234")}),
    "objects": packed({"a.npy": array("(1,)", "|O", b"12345678")}),
    "no width": packed({"a.npy": array("(99999999999,)", "<U0")}),
    "structured": packed({"a.npy": array("(1,)", "V8", b"12345678")}),
    "no header": packed({"a.npy": b"5"}),
    "a program": packed({"a.npy": array("__import__('os').getcwd()")}),
    "bzip2": packed({"a.npy": array("(1,)", data=b"1234")}, zipfile.ZIP_BZIP2),
    "lzma": packed({"a.npy": array("(1,)", data=b"1234")}, zipfile.ZIP_LZMA),
    "no zip": b"PK\x03\x04",
    "empty": b"",
    "text": b"a text" * 9,
    "too many": packed({f"{i}.npy": b"" for i in range(10_001)}),
}


@pytest.mark.parametrize("name", BAD)
def test_claims_are_refused_before_anything_is_allocated(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.npz").write_bytes(BAD[name])
    tracemalloc.start()
    try:
        with pytest.raises(AdfdError, match=r"a\.npz is damaged, or no file of arrays \(") as error:
            read_arrays(tmp_path / "a.npz")
        assert tracemalloc.get_traced_memory()[1] < 2**23 + 30 * len(BAD[name])
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)


def test_a_bomb_is_refused_unread(tmp_path: Path) -> None:
    bomb = packed({"a.npy": array("(16777216,)", data=bytes(2**26))}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**17
    (tmp_path / "a.npz").write_bytes(bomb)
    tracemalloc.start()
    with pytest.raises(AdfdError, match="16 MiB unpacked"):
        read_arrays(tmp_path / "a.npz", most=2**24)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    central = bomb.rindex(b"PK\x01\x02")  # the same bomb with a harmless claim: not more than that is unpacked
    lying = bomb[: central + 24] + struct.pack("<I", 1000) + bomb[central + 28 :]
    (tmp_path / "a.npz").write_bytes(lying)
    with pytest.raises(AdfdError, match="damaged, or no file of arrays"):
        read_arrays(tmp_path / "a.npz", most=2**24)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "a.npz")


WHOLE = packed({"a.npy": array("(2, 2)", data=bytes(16)), "b.npy": array("()", "<U2", "ab".encode("utf-32-le"))})


@quick
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_damage_is_an_adfd_error_or_nothing(tmp_path: Path, damage: list[tuple[int, int]], cut: bool) -> None:
    content = bytearray(WHOLE)
    for at, value in damage:
        content[at] = value
    (tmp_path / "a.npz").write_bytes(content[: damage[0][0]] if cut else content)
    try:
        arrays = read_arrays(tmp_path / "a.npz")
    except AdfdError:
        return
    assert sum(one.nbytes for one in arrays.values()) < 1000
