"""Estimates of quantities from rows: mean, standard deviation and confidence interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adfd.basics.files import Row
from adfd.evaluation.bootstrap import Bootstrap
from adfd.evaluation.kernel_distance import unpacked
from adfd.evaluation.metrics import PhotoMean
from adfd.evaluation.quantities import QUANTITIES, Quantity


@dataclass(frozen=True)
class Estimate:
    """Mean over photos, standard deviation over outputs, and a bootstrap confidence interval over photos.

    NaN where undefined: the interval of a single photo, the deviation of a single output, both of a count.
    """

    mean: float
    sd: float
    low: float
    high: float
    n_photos: int
    n_outputs: int


def estimates(rows: Sequence[Row], bootstrap: Bootstrap, names: Iterable[str] = QUANTITIES) -> dict[str, Estimate]:
    """Estimates, by name, of the quantities for which the rows have values."""
    made = {name: estimate(QUANTITIES[name], rows, bootstrap) for name in names}
    return {name: value for name, value in made.items() if value is not None}


def estimate(quantity: Quantity, rows: Sequence[Row], bootstrap: Bootstrap) -> Estimate | None:
    """Estimate of one quantity over finished outputs (failures: over all); None where no row has its columns."""
    if not (kept := told(quantity, rows)):
        return None
    metric = metric_of(quantity, kept)
    low, high = metric.interval(bootstrap)
    mean, n_photos = metric.compute().item(), len({row["photo"] for row in kept})
    return None if math.isnan(mean) else Estimate(mean, metric.spread(), low, high, n_photos, len(kept))


def told(quantity: Quantity, rows: Sequence[Row]) -> list[Row]:
    """The rows that have all columns that a quantity is computed from."""
    asked = [row for row in rows if row["status"] == "ok" or "failed" in quantity.reads]
    return [row for row in asked if all(row.get(column) is not None for column in quantity.reads)]


def metric_of(quantity: Quantity, rows: Sequence[Row]) -> PhotoMean:
    """A quantity's metric, updated with rows that have its columns."""
    names = sorted({row["photo"] for row in rows})
    metric = quantity.metric()
    photo = torch.tensor([names.index(row["photo"]) for row in rows])
    metric.update(photo, *(_column([row[column] for row in rows]) for column in quantity.reads))
    return metric


def _column(values: list[Any]) -> Tensor:
    """A column as a tensor: `[N]` for numbers, `[N, D]` for packed features."""
    plain = [unpacked(value) if isinstance(value, str) else float(value) for value in values]
    return torch.from_numpy(np.array(plain, dtype=np.float64))
