"""What natural faces are like: the path towards childhood, a readout of gender, and how sure the age judge is of them.

The ridge direction of age leaves the generator's faces when it is followed far down: a child on it has an adult's
features, shrunk. The conditional mean of `w` given age, gender held, stays among them, and pulls all towards one face.
Half of each makes children who still look like themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from adfd.analysis.random_faces import check_psi, faces, known_channels, latents
from adfd.analysis.shards import Arrays, OnUnit, Shards
from adfd.basics.batching import row_by_row
from adfd.basics.errors import AdfdError
from adfd.models.networks import Networks
from adfd.models.views import Views
from adfd.stylespace.statistics import Channels

HELD_OUT = 5  # every fifth face is left out of the readout's fit, to measure it
BRACKETS = (0.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0)
FEWEST = 10
"""Faces below which a bracket tells nothing."""
SURE = 0.9
"""Share of natural faces whose spread is at most the one that is kept."""


@dataclass(frozen=True)
class Nature:
    """How much to measure, and how the fits are made."""

    n_samples: int
    """Random faces."""
    psi: float
    """Truncation of the random faces; 1 for none."""
    views: Views
    """On which their ages are read."""
    ridge: float
    """Penalty of the readouts, on whitened `w`."""
    mixture: float
    """Of the step towards childhood: 0 is the ridge direction alone, 1 the conditional mean alone."""
    batch_size: int
    """Faces rendered at once."""

    unit = "face"
    verb = "read"
    extends = True

    def __post_init__(self) -> None:
        for key, least in {"n_samples": 50, "batch_size": 1}.items():
            if getattr(self, key) < least:
                raise AdfdError(f"analysis.{key} must be at least {least}, got {getattr(self, key)}")
        if not self.ridge > 0:
            raise AdfdError(f"analysis.ridge must be positive, got {self.ridge}")
        if not 0 <= self.mixture <= 1:
            raise AdfdError(f"analysis.mixture must lie in 0..1, got {self.mixture}")
        check_psi(self.psi)

    @property
    def key(self) -> dict[str, Any]:
        """What the readings of a face depend on, besides networks and seed."""
        return {"analysis": "nature", "psi": self.psi, "views": [self.views.flip, self.views.shift, *self.views.zooms]}

    def n_units(self, networks: Networks) -> int:
        """Faces to read."""
        return self.n_samples

    def rehearse(self, networks: Networks, seed: int) -> None:
        """Do one unit of the work, to see how long it takes."""
        read(networks.with_views(self.views), faces(networks, 1, self.psi, seed), 1, lambda n: None)

    def __call__(self, networks: Networks, seed: int, shards: Shards) -> Channels:
        """Add what natural faces are like to what is known of the channels."""
        asked, found = networks.with_views(self.views), []
        for rows, w in latents(networks, self.n_samples, self.psi, seed):
            name = f"faces-{rows.start:07}-{rows.stop:07}"
            found.append({"w": w.cpu()} | shards(name, len(rows), partial(read, asked, w, self.batch_size)))
        readings = {key: torch.cat([part[key] for part in found]) for key in found[0]}
        return fit(known_channels(networks, self.psi, seed), readings, self.ridge, self.mixture)


@torch.inference_mode()
def read(networks: Networks, w: Tensor, batch_size: int, on_unit: OnUnit) -> Arrays:
    """Of faces `w` `[n, 512]`: `age` and `spread` over the views, and `p_female`, `[n]` each."""
    ages, spreads, genders = [], [], []
    for part in w.split(batch_size):
        img, age, spread = networks.render_read(networks.affine(part), len(part), "pooled")
        ages.append(age)
        spreads.append(spread)
        genders.append(row_by_row(networks.gender, img).exp()[:, 0])
        on_unit(len(part))
    return {"age": torch.cat(ages), "spread": torch.cat(spreads), "p_female": torch.cat(genders)}


def fit(known: Channels, readings: Arrays, ridge: float, mixture: float) -> Channels:
    """Channels with all that follows from readings of faces: `w` `[n, 512]`, `age`, `spread` and `p_female` `[n]`.

    Raises AdfdError where the channels hold no age path, which the one towards childhood is a bend of.
    """
    if known.age_year is None:
        raise AdfdError(
            f"the channels of {known.generator} hold no age path to bend; make them first with: "
            "python -m adfd.analyze analysis=correlation, then analysis=nature model.channels=..."
        )
    w, age, p_female = (readings[key].double().cpu() for key in ("w", "age", "p_female"))
    last = torch.arange(len(w)) % HELD_OUT == HELD_OUT - 1
    direction, bias = readout(w[~last], p_female[~last] - 0.5, ridge)
    held_out = torch.corrcoef(torch.stack([w[last] @ direction + bias, p_female[last]]))[0, 1].item()
    gender_readout, gender_bias = readout(w, p_female - 0.5, ridge)
    natural_age, natural_spread = spreads_by_age(age, readings["spread"].double().cpu())
    return replace(
        known,
        younger_year=younger_year(known.age_year.double(), w, age, p_female, mixture).float(),
        gender_readout=gender_readout.float(),
        gender_bias=gender_bias,
        gender_r=held_out,
        natural_age=natural_age.float(),
        natural_spread=natural_spread.float(),
        n_samples_nature=len(w),
    )


def readout(w: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, float]:
    """Ridge regression of y `[n]` on whitened w `[n, D]`, as a direction `[D]` and an offset: `w @ direction + offset`.

    `ridge` counts in faces: a direction of `w` in which they vary as they do by one deviation costs as much as that.
    """
    mean, deviations = w.mean(dim=0), w - w.mean(dim=0)
    covariance = deviations.T @ deviations
    penalty = ridge / len(w) * covariance + 1e-9 * covariance.trace() / len(covariance) * torch.eye(len(covariance))
    direction = torch.linalg.solve(covariance + penalty, deviations.T @ (y - y.mean()))
    return direction, (y.mean() - mean @ direction).item()


def younger_year(year: Tensor, w: Tensor, age: Tensor, p_female: Tensor, mixture: float) -> Tensor:
    """The step towards childhood `[D]`: part the ridge's `year` `[D]`, part the mean change of w `[n, D]` with age.

    Both are one year by the ridge's own reading. Gender is held: the change with age is that beside gender in a joint
    regression of w on both.
    """
    causes = torch.stack([torch.ones_like(age), age, p_female], dim=1)
    change = torch.linalg.lstsq(causes, w).solution[1]  # [D], per year
    read = year / year.dot(year)  # years that the ridge reads per unit of w
    return (1 - mixture) * year + mixture * change / read.dot(change)


def spreads_by_age(age: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Mean age of each bracket with faces enough, and the spread that `SURE` of its faces stay below: `[B]` each.

    Raises AdfdError where no bracket has enough.
    """
    ages, limits = [], []
    for low, high in pairwise(BRACKETS):
        inside = (age >= low) & (age < high)
        if inside.sum() >= FEWEST:
            ages.append(age[inside].mean())
            limits.append(spread[inside].quantile(SURE))
    if not ages:
        raise AdfdError(f"no {FEWEST} faces of like age among {len(age)}; raise analysis.n_samples")
    return torch.stack(ages), torch.stack(limits)
