"""Batches: networks that see one row at a time, parts that fit into memory, and the size that pays."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import torch
from torch import Tensor

from adfd.basics.errors import AdfdError

log = logging.getLogger(__name__)

Result = TypeVar("Result")
OutOfMemory = torch.OutOfMemoryError


def row_by_row(function: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """`function` of every row of `batch` `[N, ...]` by itself, stacked.

    The last bits of a matrix product depend on how many rows it has, and an optimisation amplifies them. What starts
    one is therefore computed alone, so that a person's results do not depend on who else is in the batch.
    """
    return torch.cat([function(row) for row in batch.split(1)])


def in_parts(function: Callable[[Tensor], Result], batch: Tensor, size: int) -> list[Result]:
    """`function` of consecutive parts of `batch` `[N, ...]`, `size` rows each, or fewer where the device is too small.

    Raises AdfdError where it does not hold one row.
    """
    results: list[Result] = []
    first = 0
    while first < len(batch):
        part = batch[first : first + size]
        with suppress(OutOfMemory):
            results.append(function(part))
            first += len(part)
            continue
        size = halved(len(part))  # out here, where the error no longer holds the tensors of the attempt
    return results


def halved(size: int) -> int:
    """Half of a batch that the device's memory did not hold. Raises AdfdError where there is no half."""
    if size == 1:
        raise AdfdError("the device's memory does not hold one face; take hardware=cpu or a larger device")
    log.warning("%d at once are more than the device's memory holds; going on with %d", size, size // 2)
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
    return size // 2


def best_size(seconds: Callable[[int], float], most: int, gain: float = 0.05) -> int:
    """The batch size, of 1, 2, 4 ... up to `most`, beyond which a row is no longer `gain` cheaper, or does not fit.

    `seconds(n)` runs a batch of `n`. Raises AdfdError where not even one row fits.
    """
    best, each, size = 1, math.inf, 1
    while size <= most:
        try:
            now = seconds(size) / size
        except OutOfMemory:
            now = math.inf
        if now > each * (1 - gain) or not math.isfinite(now):
            break
        best, each, size = size, now, 2 * size
    if not math.isfinite(each):
        halved(1)
    return best


def round_to_tf32(allowed: bool) -> None:
    """Whether GPUs that can may round the factors of float32 products to TensorFloat-32; torch does in convolutions."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
