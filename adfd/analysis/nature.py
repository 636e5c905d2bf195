"""Statistics of natural (unedited) faces: the bent age path, a gender classifier, the age judge's spread, and a
linear model of its readings.

The ridge direction of age leaves the distribution of faces when followed far towards childhood: it gives adult features
on a small face. The conditional mean of `w` given age, at fixed gender, stays within the distribution but makes all
faces alike. The average of both directions gives children who still resemble the person. Towards old age the ridge
direction stays within the distribution but drifts towards one gender; there it is corrected so that the gender
classifier reads the same along it.

The linear model tells the age judge's reading from the perceptual features. It cannot follow the judge's errors on
single faces, so that both together tell more about a face's age than the judge alone (docs/realism.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from adfd.analysis.moments import Regression
from adfd.analysis.random_faces import check_psi, faces, known_channels, latents
from adfd.analysis.shards import Arrays, OnUnit, Shards
from adfd.basics.batching import row_by_row
from adfd.basics.errors import AdfdError
from adfd.models.networks import Networks
from adfd.models.views import Views
from adfd.stylespace.statistics import Channels

HELD_OUT = 5  # every fifth face is held out from the classifier's fit, to measure it
BRACKETS = (0.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0)
FEWEST = 10
"""Brackets of ages with fewer faces are left out."""
SURE = 0.9
"""Quantile of natural faces' spread that is stored."""


@dataclass(frozen=True)
class Nature:
    """Settings of the analysis. Raises AdfdError for impossible ones."""

    n_samples: int
    """Number of random faces."""
    psi: float
    """Truncation of the random faces; 1 for none."""
    views: Views
    """Views over which ages are averaged."""
    ridge: float
    """Penalty of the classifier, on whitened `w`."""
    features_ridge: float
    """Penalty of the linear model of age, on standardised features."""
    mixture: float
    """The step towards childhood: 0 is the ridge direction alone, 1 the conditional mean alone."""
    batch_size: int
    """Faces rendered at once."""

    unit = "face"
    verb = "read"
    extends = True

    def __post_init__(self) -> None:
        for key, least in {"n_samples": 50, "batch_size": 1}.items():
            if getattr(self, key) < least:
                raise AdfdError(f"analysis.{key} must be at least {least}, got {getattr(self, key)}")
        for key in ("ridge", "features_ridge"):
            if not getattr(self, key) > 0:
                raise AdfdError(f"analysis.{key} must be positive, got {getattr(self, key)}")
        if not 0 <= self.mixture <= 1:
            raise AdfdError(f"analysis.mixture must lie in 0..1, got {self.mixture}")
        check_psi(self.psi)

    @property
    def key(self) -> dict[str, Any]:
        """Settings that a face's readings depend on, besides networks and seed."""
        views = [self.views.flip, self.views.shift, *self.views.zooms]
        return {"analysis": "nature", "psi": self.psi, "views": views, "features": True}

    def n_units(self, networks: Networks) -> int:
        """Number of faces to render and judge."""
        return self.n_samples

    def rehearse(self, networks: Networks, seed: int) -> None:
        """Do one unit of the work, to measure its duration."""
        read(self._asked(networks), faces(networks, 1, self.psi, seed), 1, lambda n: None)

    def __call__(self, networks: Networks, seed: int, shards: Shards) -> Channels:
        """Judge random faces, and return the channel statistics with those of natural faces."""
        asked, found = self._asked(networks), []
        for rows, w in latents(networks, self.n_samples, self.psi, seed):
            name = f"faces-{rows.start:07}-{rows.stop:07}"
            found.append({"w": w.cpu()} | shards(name, len(rows), partial(read, asked, w, self.batch_size)))
        readings = {key: torch.cat([part[key] for part in found]) for key in found[0]}
        known = known_channels(networks, self.psi, seed)
        of_features = features_model(networks.perceptual.name, readings, self.features_ridge)
        return replace(fit(known, readings, self.ridge, self.mixture), **of_features)

    def _asked(self, networks: Networks) -> Networks:
        """The networks with these views, and without an earlier model of age."""
        return networks.with_views(replace(self.views, features=0))


@torch.inference_mode()
def read(networks: Networks, w: Tensor, batch_size: int, on_unit: OnUnit) -> Arrays:
    """Render faces `w` `[n, 512]` and judge them: `age` and `spread` over the views, `p_female`, `[n]` each, and
    `features` `[n, F]`."""
    ages, spreads, genders, features = [], [], [], []
    for part in w.split(batch_size):
        img, age, spread = networks.render_read(networks.affine(part), len(part), "pooled")
        ages.append(age)
        spreads.append(spread)
        genders.append(row_by_row(networks.gender, img).exp()[:, 0])
        features.append(networks.features(img))
        on_unit(len(part))
    columns = {"age": ages, "spread": spreads, "p_female": genders, "features": features}
    return {name: torch.cat(parts) for name, parts in columns.items()}


def fit(known: Channels, readings: Arrays, ridge: float, mixture: float) -> Channels:
    """Channel statistics completed from readings of faces: `w` `[n, 512]`, `age`, `spread` and `p_female` `[n]`.

    Raises AdfdError where `known` has no age path, from which the step towards childhood is computed.
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
        older_year=older_year(known.age_year.double(), w, gender_readout).float(),
        gender_readout=gender_readout.float(),
        gender_bias=gender_bias,
        gender_r=held_out,
        natural_age=natural_age.float(),
        natural_spread=natural_spread.float(),
        n_samples_nature=len(w),
    )


def features_model(name: str, readings: Arrays, ridge: float) -> dict[str, Any]:
    """Entries of `Channels`: the linear model of `age` `[n]` from `features` `[n, F]`, those of the distance `name`.

    `ridge`, the penalty, is in units of faces, on standardised features.
    """
    features, age = readings["features"].double().cpu(), readings["age"].double().cpu()
    mean, scale = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-12)
    last = torch.arange(len(age)) % HELD_OUT == HELD_OUT - 1
    regression = Regression()
    for held_out in (False, True):
        chosen = last == held_out
        regression.add((features[chosen] - mean) / scale, age[chosen], held_out)
    direction, r2 = regression.fit(ridge)
    direction = direction / scale
    values = {"age_features": direction.float(), "age_features_bias": (age.mean() - mean @ direction).item()}
    return values | {"age_features_of": name, "age_features_r2": r2}


def readout(w: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, float]:
    """Ridge regression of y `[n]` on whitened w `[n, D]`: direction `[D]` and offset of `w @ direction + offset`.

    `ridge`, the penalty, is in units of faces: it is added to the sum over n faces of each whitened variable's square.
    """
    mean, deviations = w.mean(dim=0), w - w.mean(dim=0)
    covariance = deviations.T @ deviations
    penalty = ridge / len(w) * covariance + 1e-9 * covariance.trace() / len(covariance) * torch.eye(len(covariance))
    direction = torch.linalg.solve(covariance + penalty, deviations.T @ (y - y.mean()))
    return direction, (y.mean() - mean @ direction).item()


def younger_year(year: Tensor, w: Tensor, age: Tensor, p_female: Tensor, mixture: float) -> Tensor:
    """The step `[D]` of the age path towards childhood: a mixture of `year` `[D]` and the mean change of w with age.

    Both are scaled to one year as predicted by the ridge regression. The mean change is the coefficient of `age` `[n]`
    in a joint regression of w `[n, D]` on age and `p_female` `[n]`, which holds gender fixed.
    """
    causes = torch.stack([torch.ones_like(age), age, p_female], dim=1)
    change = torch.linalg.lstsq(causes, w).solution[1]  # [D], per year
    read = year / year.dot(year)  # the ridge regression's coefficients, in years per unit of w
    return (1 - mixture) * year + mixture * change / read.dot(change)


def older_year(year: Tensor, w: Tensor, gender_readout: Tensor) -> Tensor:
    """The step `[D]` of the age path towards old age: the ridge direction `year` `[D]` without its change of gender.

    Of the steps along which the gender classifier `gender_readout` `[D]` is constant, it is the nearest to `year` in
    the Mahalanobis distance of the faces w `[n, D]`, scaled to one year as predicted by the ridge regression.
    """
    covariance = torch.cov(w.T)
    held = year - (gender_readout @ year) / (gender_readout @ covariance @ gender_readout) * covariance @ gender_readout
    return held * year.dot(year) / year.dot(held)


def spreads_by_age(age: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Mean age of each bracket with at least `FEWEST` faces, and the quantile `SURE` of its spread: `[B]` each.

    Raises AdfdError where no bracket has enough faces.
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
