"""Batches: functions applied row by row, batches split to fit into memory, and the search for the fastest size."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from adfd.basics.errors import AdfdError

log = logging.getLogger(__name__)

OutOfMemory = torch.OutOfMemoryError


def row_by_row(function: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Apply `function` to each row of `batch` `[N, ...]` separately and stack the results.

    The last bits of a matrix product depend on the number of rows, and an optimisation amplifies such differences. The
    inputs of an optimisation are therefore computed row by row: a person's results do not depend on the rest of the
    batch.
    """
    return torch.cat([function(row) for row in batch.split(1)])


def in_parts(function: Callable[[Tensor], tuple[Tensor, ...]], batch: Tensor, size: int) -> tuple[Tensor, ...]:
    """Apply `function`, which works row by row, to consecutive parts of `batch` `[N, ...]`; its results, concatenated.

    A part has `size` rows, or fewer where the device runs out of memory; it is filled up to its `full_size` with copies
    of its last row, whose results are dropped. Raises AdfdError where one row does not fit.
    """
    results: list[tuple[Tensor, ...]] = []
    first = 0
    while first < len(batch):
        part = batch[first : first + size]
        n = len(part)
        with suppress(OutOfMemory):
            copies = full_size(n, part.device) - n
            made = function(torch.cat([part, part[-1:].expand(copies, *part.shape[1:])]) if copies else part)
            results.append(tuple(result[:n] for result in made))
            first += n
            continue
        size = halved(n)  # outside the with block, since the error keeps the failed attempt's tensors alive
    return tuple(torch.cat(column) for column in zip(*results, strict=True))


def full_size(n: int, device: torch.device) -> int:
    """The number of rows that a batch of `n` is computed with: on a GPU the next power of two, on a CPU `n`.

    cuDNN plans each convolution anew for every number of rows, on an H200 for 0.35 s with a generator that renders a
    picture in 0.002 s; and a batch whose members finish one by one would come by every number.
    """
    return n if device.type == "cpu" else 1 << (n - 1).bit_length()


def halved(size: int) -> int:
    """Half of `size`, a batch size that did not fit into the device's memory. Raises AdfdError where `size` is 1."""
    if size == 1:
        raise AdfdError("the device's memory does not hold one face; take hardware=cpu or a larger device")
    log.warning("%d at once are more than the device's memory holds; continuing with %d", size, size // 2)
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
    return size // 2


def best_size(seconds: Callable[[int], float], most: int, gain: float = 0.05) -> int:
    """The fastest batch size among 1, 2, 4 ... `most`.

    `seconds(n)` runs a batch of `n` rows and returns its time. The size is doubled while that lowers the time per row
    by a share of at least `gain` and the batch fits into memory. Raises AdfdError where one row does not fit.
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
    """Allow or forbid GPUs to round the factors of float32 products to TF32; torch's default allows it in convolutions.

    GPUs without TF32 are unaffected.
    """
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
