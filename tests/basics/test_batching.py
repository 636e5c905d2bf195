"""Batches that shrink where a device is too small, and the size that pays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adfd.basics.batching import OutOfMemory, best_size, in_parts
from adfd.basics.errors import AdfdError


def small_device(rows: int, seen: list[int]):
    def double(part: Tensor) -> Tensor:
        seen.append(len(part))
        if len(part) > rows:
            raise OutOfMemory("CUDA out of memory")
        return 2 * part

    return double


@pytest.mark.parametrize(("rows", "expected"), [(8, [8, 2]), (4, [8, 4, 4, 2]), (3, [8, 4, 2, 2, 2, 2, 2])])
def test_parts_shrink_to_what_fits_and_none_is_lost(rows: int, expected: list[int]) -> None:
    seen: list[int] = []
    batch = torch.arange(10.0)
    assert torch.equal(torch.cat(in_parts(small_device(rows, seen), batch, 8)), 2 * batch)
    assert seen == expected


def test_one_row_that_does_not_fit_is_an_error_with_its_remedy() -> None:
    with pytest.raises(AdfdError, match="hardware=cpu"):
        in_parts(small_device(0, []), torch.arange(4.0), 4)


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 1.0, 2: 1.2, 4: 2.0, 8: 3.9, 16: 7.8}, 4),  # 8 is 2.5 % cheaper a row
        ({1: 1.0, 2: 2.1, 4: 1.0}, 1),
        ({1: 1.0, 2: 1.0, 4: 1.0}, 4),
        ({1: 1.0, 2: 1.0}, 2),
    ],
)
def test_the_probe_stops_where_more_no_longer_pays_or_fits(seconds: dict[int, float], best: int) -> None:
    def run(n: int) -> float:
        if n not in seconds:
            raise OutOfMemory("CUDA out of memory")
        return seconds[n]

    assert best_size(run, most=16) == best
    assert best_size(run, most=1) == 1


def test_the_probe_of_a_device_that_holds_nothing() -> None:
    with pytest.raises(AdfdError, match="does not hold one face"):
        best_size(lambda n: small_device(0, [])(torch.zeros(n)), most=4)  # type: ignore[arg-type, return-value]
