"""Confidence intervals by bootstrap over photos: the outputs of a photo are resampled together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adfd.basics.errors import AdfdError


@dataclass(frozen=True)
class Bootstrap:
    """Percentile intervals (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13)."""

    n_resamples: int
    confidence: float
    """Share of the resamples that the interval encloses, in 0..1."""
    seed: int

    def __post_init__(self) -> None:
        if self.n_resamples < 100:
            raise AdfdError(f"bootstrap.n_resamples must be at least 100, got {self.n_resamples}")
        if not 0 < self.confidence < 1:
            raise AdfdError(f"bootstrap.confidence must lie between 0 and 1, got {self.confidence}")
        if self.seed < 0:
            raise AdfdError(f"bootstrap.seed must be at least 0, got {self.seed}")

    def interval(self, per_photo: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
        """Lower and upper end of the confidence interval of `score(mean of per_photo)`.

        `per_photo` `[P, Q]` holds Q values for each photo; `score` maps means `[R, Q]` to `[R]`. NaN and NaN for fewer
        than two photos. The same seed and number of photos give the same resamples.
        """
        n_photos = len(per_photo)
        if n_photos < 2:
            return np.nan, np.nan
        drawn = np.random.default_rng(self.seed).integers(n_photos, size=(self.n_resamples, n_photos))
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(score(per_photo[drawn].mean(axis=1)), (tail, 1 - tail))
        return float(low), float(high)
