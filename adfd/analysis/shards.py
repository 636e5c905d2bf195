"""Shards: parts of a long computation, each written to a file when finished; a killed process loses at most one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adfd.basics.arrays import read_arrays
from adfd.basics.errors import AdfdError
from adfd.basics.files import atomic

Arrays = dict[str, Tensor]
OnUnit = Callable[[int], object]
"""Callback that receives the number of units finished since its last call."""


class Shards:
    """The files of one computation, in a folder of its own below `root`, named by a hash of `key`.

    `key` is everything that the results depend on. `on_unit` receives the units of a shard as they are computed, or all
    at once where the shard is read from its file.
    """

    def __init__(self, root: Path, key: dict[str, Any], on_unit: OnUnit = lambda n: None) -> None:
        text = json.dumps(key, indent=2, sort_keys=True)
        self.path = root / hashlib.sha256(text.encode()).hexdigest()[:12]
        self.on_unit = on_unit
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic(self.path / "key.json") as stream:
            stream.write(text.encode())

    def __call__(self, name: str, n_units: int, compute: Callable[[OnUnit], Arrays]) -> Arrays:
        """The arrays of one shard: read from its file, or computed and written. A damaged file is computed again."""
        try:
            arrays = {key: torch.from_numpy(array) for key, array in read_arrays(self._file(name)).items()}
            self.on_unit(n_units)
        except (FileNotFoundError, AdfdError):
            arrays = {key: value.cpu() for key, value in compute(self.on_unit).items()}
            with atomic(self._file(name)) as stream:
                plain: dict[str, Any] = {key: value.numpy() for key, value in arrays.items()}
                np.savez(stream, **plain)
        return arrays

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.npz"


def parts(n: int, size: int) -> Iterator[range]:
    """0..n-1 in consecutive ranges of `size`; the last may be shorter."""
    for start in range(0, n, size):
        yield range(start, min(start + size, n))
