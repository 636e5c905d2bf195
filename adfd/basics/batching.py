"""Batching that does not change a result: networks see one row at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def row_by_row(function: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """`function` of every row of `batch` `[N, ...]` by itself, stacked.

    The last bits of a matrix product depend on how many rows it has, and an optimisation amplifies them. What starts
    one is therefore computed alone, so that a person's results do not depend on who else is in the batch.
    """
    return torch.cat([function(row) for row in batch.split(1)])
