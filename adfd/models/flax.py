"""Weights that Flax pickled: nested dictionaries of arrays, read without Flax and without trusting the pickle."""

from __future__ import annotations

from pathlib import Path
from pickle import Unpickler
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adfd.basics.errors import AdfdError

ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
}
"""All that such a file names."""


class _ArrayUnpickler(Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise AdfdError(f"it asks for {module}.{name}")
        return ALLOWED[module, name]


def read(path: Path) -> dict[str, Tensor]:
    """Arrays by their path, as in `AlexNet_0/Conv_0/kernel`, without a `params` around them.

    Raises AdfdError where the file is missing, no pickle, or one that asks for more than arrays.
    """
    try:
        with path.open("rb") as file:
            tree = _ArrayUnpickler(file).load()
        return dict(_leaves(tree.get("params", tree)))
    except Exception as error:  # whatever a damaged or hostile pickle makes of the machine that reads it
        raise AdfdError(f"{path} is no file of arrays ({error}); nothing in it was executed") from error


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Tensor]]:
    leaves: list[tuple[str, Tensor]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves += _leaves(value, f"{prefix}{key}/")
        else:
            leaves.append((f"{prefix}{key}", torch.from_numpy(np.array(value, dtype=np.float32))))
    return leaves
