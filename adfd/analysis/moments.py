"""Sums from which correlations and regressions are computed, so that samples need not be kept in memory."""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """First and second moments of variables x `[N, C]` and y `[N, K]`, in double precision; moments can be added."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        x, y = x.double(), y.double()
        self.n = len(x)
        self.x, self.xx = x.sum(dim=0), x.square().sum(dim=0)  # [C]
        self.y, self.yy = y.sum(dim=0), y.square().sum(dim=0)  # [K]
        self.xy = x.T @ y  # [C, K]

    def __add__(self, other: Moments) -> Moments:
        both = object.__new__(Moments)
        both.n = self.n + other.n
        for name in ("x", "xx", "y", "yy", "xy"):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    @property
    def mean(self) -> Tensor:
        """Mean of x: `[C]`."""
        return self.x / self.n

    @property
    def std(self) -> Tensor:
        """Standard deviation of x: `[C]`."""
        return ((self.xx - self.x.square() / self.n).clamp_min(0) / (self.n - 1)).sqrt()

    def correlation(self) -> Tensor:
        """Pearson r of each x with each y: `[C, K]`; 0 where either is constant up to rounding."""
        vary_x = self.xx - self.x.square() / self.n
        vary_y = self.yy - self.y.square() / self.n
        r = (self.xy - torch.outer(self.x, self.y) / self.n) / torch.outer(vary_x, vary_y).clamp_min(1e-300).sqrt()
        rounding = 1e-12
        varies = torch.outer(vary_x > rounding * self.xx, vary_y > rounding * self.yy)
        return torch.where(varies, r.clamp(-1, 1), 0.0)


class Regression:
    """Ridge regression of y `[N]` on x `[N, D]` from moments of the samples to fit and of the held-out ones."""

    def __init__(self) -> None:
        self.parts: dict[bool, list[Tensor]] = {}

    def add(self, x: Tensor, y: Tensor, held_out: bool) -> None:
        """Add samples x `[N, D]`, y `[N]`."""
        ones = torch.ones(len(x), 1, dtype=torch.float64)
        table = torch.cat([ones, x.double(), y.double()[:, None]], dim=1)  # [N, 1 + D + 1]
        gram = table.T @ table
        known = self.parts.setdefault(held_out, [torch.zeros_like(gram)])
        known[0] += gram

    def fit(self, ridge: float) -> tuple[Tensor, float]:
        """Coefficients `[D]` fitted on all samples; R2 on the held-out samples of a fit on the others."""
        fitted, held = self.parts[False][0], self.parts[True][0]
        direction, mean = _solve(fitted, ridge)
        # Residuals y - mean_y - (x - mean_x) d of the held-out samples, as a linear form of (1, x, y).
        form = torch.cat([(mean[:-1] @ direction - mean[-1])[None], -direction, torch.ones(1, dtype=torch.float64)])
        residual = form @ held @ form
        variance = held[-1, -1] - held[0, -1].square() / held[0, 0]
        return _solve(fitted + held, ridge)[0], (1 - residual / variance).item()


def _solve(gram: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    mean = gram[0, 1:] / gram[0, 0]  # means of x and y
    centred = gram[1:, 1:] - gram[0, 0] * torch.outer(mean, mean)
    xx, xy = centred[:-1, :-1], centred[:-1, -1]
    return torch.linalg.solve(xx + ridge * torch.eye(len(xx), dtype=xx.dtype), xy), mean
