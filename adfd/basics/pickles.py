"""Read pickles of arrays without executing foreign code: every class or function they name is one of our stand-ins.

Before unpickling, the stream is checked: no length exceeds the remaining data and no memo index exceeds the file's
length, so that a file cannot make the reader allocate more than it contains.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Mapping
from functools import partial
from inspect import isfunction
from pickle import Unpickler
from typing import Any

import numpy as np


class RefusedError(Exception):
    """The pickle uses a name, type or size that a file of arrays does not need."""


class Dtype:
    """Stands for numpy.dtype."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        self.code = self.code if order == "|" else order + self.code


class Array:
    """Stands for numpy.ndarray: keeps the pickled state, which `values` turns into an array."""

    state: tuple[Any, ...]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    @property
    def values(self) -> Any:
        """The numbers as an array; an object array, such as column names, as a list."""
        _, shape, dtype, fortran, data = self.state
        return data if isinstance(data, list) else numbers(data, dtype, shape, "F" if fortran else "C")


def numbers(buffer: bytes, dtype: Dtype, shape: Any = -1, order: str = "C") -> np.ndarray:
    """An array from its bytes. Raises RefusedError for a type that is not numeric, ValueError for a wrong size."""
    kind = np.dtype(dtype.code)
    if kind.kind not in "biuf":
        raise RefusedError(f"it holds values of type {kind}")
    return np.frombuffer(buffer, kind).reshape(shape, order=order)  # type: ignore[call-overload]


ARRAYS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): Dtype,
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: Array(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: Array(),
}
"""Stand-ins for the names in a pickled array, by (module, name)."""


def load(data: bytes, stand_ins: Mapping[tuple[str, str], Any]) -> Any:
    """Unpickle `data`, which may name only the stand-ins, given by (module, name).

    Raises RefusedError for any other name, and errors of any type where the data are damaged.
    """
    for opcode, argument, _ in pickletools.genops(data):  # raises where a length is beyond the data
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise RefusedError(f"it claims {argument} memo entries")
    return _Restricted(data, stand_ins).load()


class _Restricted(Unpickler):
    """Unpickler that resolves names to stand-ins only."""

    def __init__(self, data: bytes, stand_ins: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._stand_ins = stand_ins

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._stand_ins:
            raise RefusedError(f"it asks for {module}.{name}")
        stand_in = self._stand_ins[module, name]
        return partial(stand_in) if isfunction(stand_in) else stand_in  # the pickle may modify what it gets: a copy

    def persistent_load(self, pid: object) -> Any:
        raise RefusedError("it refers to objects outside the file")
