"""Read `.npz` files that may be damaged or hostile: sizes claimed in headers are checked before memory is allocated."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as header

from adfd.basics.errors import AdfdError

MAX_BYTES = 2**30
"""Largest total size of a file's arrays, unpacked; files written by this program are smaller."""
MAX_ARRAYS = 10_000
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The compression methods that numpy uses; the headers of others may make the reader allocate memory."""
KINDS = "biufU"


def read_arrays(path: Path, most: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file by name: numbers and short texts, never objects; at most `most` bytes unpacked.

    Raises FileNotFoundError where the file is missing, and AdfdError with the reason where it is damaged or the size in
    an array's header differs from the data stored for that array.
    """
    try:
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            if len(members) > MAX_ARRAYS or sum(member.file_size for member in members) > most:
                raise ValueError(f"more than {MAX_ARRAYS} arrays, or {most / 2**20:.0f} MiB unpacked")
            if any(member.compress_type not in PACKED for member in members):
                raise ValueError("compressed by a method that numpy does not use")
            arrays = {}
            for member in members:
                with file.open(member) as stream:
                    arrays[member.filename.removesuffix(".npy")] = _read(stream, member.file_size)
            return arrays
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise errors of any type on damaged data
        reason = " ".join(str(error).split()) or type(error).__name__
        raise AdfdError(f"{path} is damaged, or no file of arrays ({reason:.200})") from error


def _read(stream: IO[bytes], size: int) -> np.ndarray:
    """One array, whose header and data are `size` bytes. Raises ValueError where the header states another size."""
    version = header.read_magic(stream)
    readers = {(1, 0): header.read_array_header_1_0, (2, 0): header.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"format {version}")
    shape, fortran, kind = readers[version](stream)
    if kind.kind not in KINDS or not kind.itemsize:
        raise ValueError(f"values of type {kind}")
    if any(n < 0 for n in shape) or math.prod(shape) * kind.itemsize != size - stream.tell():
        raise ValueError(f"its header claims {list(shape)} values of {kind.itemsize} bytes, it has {size} bytes")
    data = stream.read()
    if len(data) != math.prod(shape) * kind.itemsize:
        raise ValueError("cut short")
    values = np.frombuffer(bytearray(data), kind)
    return values.reshape(shape, order="F" if fortran else "C")
