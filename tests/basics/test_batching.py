"""Batches that shrink where a device is too small, and the size that pays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adfd.basics import batching
from adfd.basics.batching import OutOfMemory, best_size, full_size, in_parts
from adfd.basics.errors import AdfdError


def small_device(rows: int, seen: list[int]):
    def double(part: Tensor) -> tuple[Tensor, ...]:
        seen.append(len(part))
        if len(part) > rows:
            raise OutOfMemory("CUDA out of memory")
        return 2 * part, -part

    return double


@pytest.mark.parametrize(("rows", "expected"), [(8, [8, 2]), (4, [8, 4, 4, 2]), (3, [8, 4, 2, 2, 2, 2, 2])])
def test_parts_shrink_to_what_fits_and_none_is_lost(rows: int, expected: list[int]) -> None:
    seen: list[int] = []
    batch = torch.arange(10.0)
    doubled, negative = in_parts(small_device(rows, seen), batch, 8)
    assert torch.equal(doubled, 2 * batch)
    assert torch.equal(negative, -batch)
    assert seen == expected


@pytest.mark.parametrize(("n", "filled"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (33, 64)])
def test_batches_are_filled_up_to_powers_of_two_on_a_gpu_only(n: int, filled: int) -> None:
    assert full_size(n, torch.device("cuda")) == filled
    assert full_size(n, torch.device("cpu")) == n


@pytest.mark.parametrize(("rows", "expected"), [(8, [8, 2]), (5, [8, 4, 4, 2])])
def test_what_fills_a_part_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, rows: int, expected: list[int]) -> None:
    monkeypatch.setattr(batching, "full_size", lambda n, device: full_size(n, torch.device("cuda")))
    seen: list[int] = []
    batch = torch.arange(20.0).reshape(10, 2)
    doubled, negative = in_parts(small_device(rows, seen), batch, 8)
    assert torch.equal(doubled, 2 * batch)
    assert torch.equal(negative, -batch)
    assert seen == expected
    seen.clear()
    assert torch.equal(in_parts(small_device(9, seen), batch[:7], 7)[0], 2 * batch[:7])
    assert seen == [8]


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
