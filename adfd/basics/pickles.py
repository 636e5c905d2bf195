"""Pickles of arrays, run with nothing at hand: a pickle is a program, and this one finds only stand-ins.

Before it runs, its claims are checked: no length is larger than what follows, no place in its memory than its own
length, so that nothing is allocated which the file does not hold.
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
    """The pickle asks for what no file of arrays needs."""


class Dtype:
    """Stands for numpy.dtype."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        self.code = self.code if order == "|" else order + self.code


class Array:
    """Stands for numpy.ndarray: its state, until its numbers are asked for."""

    state: tuple[Any, ...]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    @property
    def values(self) -> Any:
        """Numbers as an array; objects, as the names of columns are, stay a list."""
        _, shape, dtype, fortran, data = self.state
        return data if isinstance(data, list) else numbers(data, dtype, shape, "F" if fortran else "C")


def numbers(buffer: bytes, dtype: Dtype, shape: Any = -1, order: str = "C") -> np.ndarray:
    """An array from its bytes. Raises RefusedError for values that are no numbers, ValueError where they do not fit."""
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
"""What a pickled array names."""


def load(data: bytes, stand_ins: Mapping[tuple[str, str], Any]) -> Any:
    """Run a pickle that may name the stand-ins alone. Raises whatever its damage leads to, RefusedError among it."""
    for opcode, argument, _ in pickletools.genops(data):  # raises where a length is beyond the data
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise RefusedError(f"it claims {argument} places in memory")
    return _Restricted(data, stand_ins).load()


class _Restricted(Unpickler):
    """Knows the stand-ins and nothing else."""

    def __init__(self, data: bytes, stand_ins: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._stand_ins = stand_ins

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._stand_ins:
            raise RefusedError(f"it asks for {module}.{name}")
        stand_in = self._stand_ins[module, name]
        return partial(stand_in) if isfunction(stand_in) else stand_in  # a file may spoil its own copy alone

    def persistent_load(self, pid: object) -> Any:
        raise RefusedError("it refers to objects outside the file")
