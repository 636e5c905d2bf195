"""The channel coefficients that ship with the paper's code, read from its `correlation_analysis.pkl`.

The file is a pandas pickle, and a pickle is a program. This one is run with nothing at hand but the stand-ins below for
the eleven names that such a file uses: any other name is refused before it is looked up, and pandas is not needed.
"""

from __future__ import annotations

from functools import partial
from inspect import isfunction
from pathlib import Path
from pickle import Unpickler
from typing import Any

import numpy as np

from adfd.basics.errors import AdfdError

GENERATOR = "stylegan2-ffhq-1024"
"""The generator that the coefficients belong to."""
MAX_BYTES = 16 * 2**20
"""A hundred times the file's size: what is larger is something else."""


def read(path: Path) -> dict[str, np.ndarray]:
    """`index` `[c]`, flat channels of StyleSpace, with `coef_age` and `coef_id` `[c]`, the correlations found on them.

    Raises AdfdError where the file is missing, no pickle, or one that asks for anything but a table of numbers.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _RefusedError(f"it is larger than {MAX_BYTES // 2**20} MiB")
        with path.open("rb") as file:
            return _columns(_TableUnpickler(file).load())
    except FileNotFoundError:
        raise AdfdError(
            f"channels file {path} does not exist; copy correlation_analysis.pkl of the paper's code there, "
            "or name it with model.channels=PATH"
        ) from None
    except Exception as error:  # whatever a damaged or hostile pickle makes of the machine that reads it
        reason = " ".join(str(error).split()) or type(error).__name__
        raise AdfdError(
            f"channels file {path} is not the correlation_analysis.pkl of the paper's code ({reason}); "
            "nothing in it was executed"
        ) from error


class _RefusedError(Exception):
    """The pickle asks for what a table does not need."""


class _Frame:
    """Stands for pandas.DataFrame: keeps what the pickle would set on it."""

    state: dict[str, Any]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


class _Dtype:
    """Stands for numpy.dtype: plain numbers are rebuilt, objects stay a list."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        self.code = self.code if order == "|" else order + self.code


class _Array:
    """Stands for numpy.ndarray where its values are objects, as the names of columns are."""

    values: Any

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, _, dtype, _, self.values = state
        if isinstance(self.values, bytes):
            self.values = _frombuffer(self.values, dtype)


def _frombuffer(buffer: bytes, dtype: _Dtype, shape: Any = -1, order: str = "C") -> np.ndarray:
    kind = np.dtype(dtype.code)
    if kind.kind not in "fiu":
        raise _RefusedError(f"it holds values of type {kind}")
    return np.frombuffer(buffer, kind).reshape(shape, order=order)  # type: ignore[call-overload]


def _index(_: object, state: dict[str, Any]) -> Any:
    """Stands for pandas' `_new_Index`: the labels of rows or columns."""
    data = state["data"]
    return data.values if isinstance(data, _Array) else data


STAND_INS: dict[tuple[str, str], Any] = {
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): lambda blocks, axes: (blocks, axes),
    ("pandas._libs.internals", "_unpickle_block"): lambda values, placement, ndim: (values, placement),
    ("pandas.core.indexes.base", "_new_Index"): _index,
    ("pandas.core.indexes.base", "Index"): None,
    ("pandas.core.indexes.numeric", "Int64Index"): None,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _Dtype,
    ("builtins", "slice"): slice,
}


class _TableUnpickler(Unpickler):
    """Knows the stand-ins and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise _RefusedError(f"it asks for {module}.{name}")
        stand_in = STAND_INS[module, name]
        return partial(stand_in) if isfunction(stand_in) else stand_in  # a file may spoil its own copy alone

    def persistent_load(self, pid: object) -> Any:
        raise _RefusedError("it refers to objects outside the file")


def _columns(frame: Any) -> dict[str, np.ndarray]:
    """The table's index and columns, from the blocks of columns that pandas keeps."""
    if not isinstance(frame, _Frame):
        raise _RefusedError("it holds no table")
    blocks, (names, index) = frame.state["_mgr"]
    columns: dict[str, np.ndarray] = {}
    for values, placement in blocks:
        columns |= dict(zip(names[placement], values, strict=True))
    table = {"index": index, "coef_age": columns["COEF_AGE"], "coef_id": columns["COEF_ID"]}
    if not all(np.isfinite(values).all() and values.shape == index.shape for values in table.values()):
        raise _RefusedError("its columns are not plain numbers, one for each row")
    return table
