"""The channel coefficients that ship with the paper's code, read from its `correlation_analysis.pkl`.

The file is a pandas pickle, and unpickling can execute code. Here it can use only the stand-ins below, for the eleven
names in such a file; any other name is refused before it is imported. pandas is not needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from adfd.basics.errors import AdfdError
from adfd.basics.pickles import ARRAYS, Array, RefusedError, load, numbers

GENERATOR = "stylegan2-ffhq-1024"
"""Name of the generator for which the coefficients were computed."""
MAX_BYTES = 16 * 2**20
"""Largest file that is read: a hundred times the published file's size."""


def read(path: Path) -> dict[str, np.ndarray]:
    """Read `index` `[c]`, flat channels of StyleSpace, and their coefficients `coef_age` and `coef_id`, `[c]` each.

    Raises AdfdError where the file is missing, not a pickle, or contains anything but a table of numbers.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RefusedError(f"it is larger than {MAX_BYTES // 2**20} MiB")
        return _columns(load(path.read_bytes(), STAND_INS))
    except FileNotFoundError:
        raise AdfdError(
            f"channels file {path} does not exist; copy correlation_analysis.pkl of the paper's code there, "
            "or name it with model.channels=PATH"
        ) from None
    except Exception as error:  # a damaged or hostile pickle raises errors of any type
        reason = " ".join(str(error).split()) or type(error).__name__
        raise AdfdError(
            f"channels file {path} is not the correlation_analysis.pkl of the paper's code ({reason}); "
            "nothing in it was executed"
        ) from error


class _Frame:
    """Stands for pandas.DataFrame: keeps the pickled state."""

    state: dict[str, Any]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


def _index(_: object, state: dict[str, Any]) -> Any:
    """Stands for pandas' `_new_Index`: the labels of rows or columns."""
    data = state["data"]
    return data.values if isinstance(data, Array) else data


STAND_INS: dict[tuple[str, str], Any] = {
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): lambda blocks, axes: (blocks, axes),
    ("pandas._libs.internals", "_unpickle_block"): lambda values, placement, ndim: (values, placement),
    ("pandas.core.indexes.base", "_new_Index"): _index,
    ("pandas.core.indexes.base", "Index"): None,
    ("pandas.core.indexes.numeric", "Int64Index"): None,
    ("numpy.core.numeric", "_frombuffer"): numbers,
    ("builtins", "slice"): slice,
    **ARRAYS,
}


def _columns(frame: Any) -> dict[str, np.ndarray]:
    """The table's index and columns, from the blocks of columns that pandas keeps."""
    if not isinstance(frame, _Frame):
        raise RefusedError("it holds no table")
    blocks, (names, index) = frame.state["_mgr"]
    columns: dict[str, np.ndarray] = {}
    for values, placement in blocks:
        columns |= dict(zip(names[placement], values, strict=True))
    table = {"index": index, "coef_age": columns["COEF_AGE"], "coef_id": columns["COEF_ID"]}
    if not all(np.isfinite(values).all() and values.shape == index.shape for values in table.values()):
        raise RefusedError("its columns are not plain numbers, one for each row")
    return table
