"""Read weights pickled by Flax (nested dictionaries of arrays) without Flax and without executing the pickle's code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adfd.basics import pickles
from adfd.basics.errors import AdfdError

MAX_BYTES = 2**28
MAX_ARRAYS, MAX_DEPTH = 10_000, 20
"""Limits the traversal of dictionaries that contain each other many times over."""


def read(path: Path) -> dict[str, Tensor]:
    """Arrays by path, such as `AlexNet_0/Conv_0/kernel`, without the outer `params`.

    Raises AdfdError where the file is missing, not a pickle, or contains anything but arrays.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise pickles.RefusedError(f"it is larger than {MAX_BYTES // 2**20} MiB")
        tree = pickles.load(path.read_bytes(), pickles.ARRAYS)
        arrays: dict[str, Tensor] = {}
        for name, array in _leaves(tree.get("params", tree)):
            if len(arrays) == MAX_ARRAYS:
                raise pickles.RefusedError(f"it holds more than {MAX_ARRAYS} arrays")
            arrays[name] = torch.from_numpy(array.values.astype(np.float32))
        return arrays
    except Exception as error:  # a damaged or hostile pickle raises errors of any type
        reason = " ".join(str(error).split()) or type(error).__name__
        raise AdfdError(f"{path} is no file of arrays ({reason:.200}); nothing in it was executed") from error


def _leaves(tree: dict[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, pickles.Array]]:
    if depth > MAX_DEPTH:
        raise pickles.RefusedError("its dictionaries are nested too deep")
    for i, (key, value) in enumerate(tree.items()):
        if i > MAX_ARRAYS or not isinstance(value, dict | pickles.Array):
            raise pickles.RefusedError(f"{prefix}{key} is no array")
        if isinstance(value, pickles.Array):
            yield f"{prefix}{key}", value
        else:
            yield from _leaves(value, f"{prefix}{key}/", depth + 1)
