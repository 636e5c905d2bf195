"""Correlation analysis: correlations of channels with the judges' readings on random faces.

The paper defines its coefficients as correlations over random faces, and its code contains only the results. The exact
definitions below are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from adfd.analysis.moments import Moments, Regression
from adfd.analysis.random_faces import check_psi, faces, latents
from adfd.analysis.shards import Arrays, OnUnit, Shards
from adfd.basics.errors import AdfdError
from adfd.basics.seeding import output_seed
from adfd.models.networks import Networks
from adfd.stylespace.statistics import Channels

PAIRS_AT_ONCE = 512
QUANTILES = 1001
HELD_OUT = 5  # every fifth face is held out from the fit of the age path, to compute its R2
RIDGE = 100.0  # on centred w; the embedded stack's R2 is flat around it


@dataclass(frozen=True)
class Correlation:
    """Settings of the correlation analysis. Raises AdfdError for impossible ones."""

    n_samples: int
    """Number of random faces."""
    n_pairs: int
    """Number of random pairs of faces, for the identity coefficients."""
    n_permutations: int
    """Permutations of ages and identities among the faces; the correlations with them are the null distribution."""
    psi: float
    """Truncation of the random faces; 1 for none."""
    batch_size: int
    """Faces rendered at once."""

    def __post_init__(self) -> None:
        for key, least in {"n_samples": 10, "n_pairs": 10, "n_permutations": 1, "batch_size": 1}.items():
            if getattr(self, key) < least:
                raise AdfdError(f"analysis.{key} must be at least {least}, got {getattr(self, key)}")
        check_psi(self.psi)

    unit = "face"
    verb = "judge"
    extends = False

    @property
    def key(self) -> dict[str, Any]:
        """Settings that a face's readings depend on, besides networks and seed."""
        return {"analysis": "correlation", "psi": self.psi}

    def n_units(self, networks: Networks) -> int:
        """Number of faces to render and judge."""
        return self.n_samples

    def rehearse(self, networks: Networks, seed: int) -> None:
        """Do one unit of the work, to measure its duration."""
        judge(networks, faces(networks, 1, self.psi, seed), 1, lambda n: None)

    def __call__(self, networks: Networks, seed: int, shards: Shards) -> Channels:
        """Sample faces and correlate their codes with estimated age and identity.

        coef_age[c] = |r(s_c, age)|; coef_id[c] = |r(|s_c(i) - s_c(j)|, identity distance of i and j)| over random pairs
        of faces from the same half of a shard. The age path is the ridge regression of age on w. Under the null
        hypothesis, ages (or identities) are exchangeable among the faces of a half, and are permuted: the p-value of a
        channel is the share of correlations at least as large, over all permutations and channels. Memory does not grow
        with `n_samples`. The result depends on the seed, not on `batch_size` or on interruptions.
        """
        total = Statistics(self, seed)
        for rows, w in latents(networks, self.n_samples, self.psi, seed):
            name = f"faces-{rows.start:07}-{rows.stop:07}"
            readings = shards(name, len(rows), partial(judge, networks, w, self.batch_size))
            total.take(networks, rows, w, readings)
        return total.channels(networks)


@torch.inference_mode()
def judge(networks: Networks, w: Tensor, batch_size: int, on_unit: OnUnit) -> Arrays:
    """Render faces `w` `[n, 512]` and judge them: `age` `[n]` in years, `embedding` `[n, D]`."""
    ages, embeddings = [], []
    for part in w.split(batch_size):
        img = networks.synthesis_pooled(networks.affine(part))
        ages.append(networks.age(img))
        embeddings.append(networks.embed(img))
        on_unit(len(part))
    return {"age": torch.cat(ages), "embedding": torch.cat(embeddings)}


class Statistics:
    """Moments for each half of the faces. Column 0 of y holds the readings, each other column a permutation of them."""

    def __init__(self, settings: Correlation, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.age: dict[int, Moments] = {}
        self.id: dict[int, Moments] = {}
        self.path = Regression()

    @torch.inference_mode()
    def take(self, networks: Networks, rows: range, w: Tensor, readings: Arrays) -> None:
        """Add the faces `rows` `w` `[n, 512]` with their readings."""
        s, w = networks.affine(w).cpu(), w.cpu()
        number = torch.arange(rows.start, rows.stop)
        for held_out in (False, True):
            chosen = (number % HELD_OUT == HELD_OUT - 1) == held_out
            self.path.add(w[chosen], readings["age"][chosen], held_out)
        for half in (0, 1):
            chosen = number % 2 == half
            rng = torch.Generator().manual_seed(output_seed(self.seed, f"faces {rows.start}", half))
            self._take_half(half, s[chosen], readings["age"][chosen], readings["embedding"][chosen], rng)

    def _take_half(self, half: int, s: Tensor, age: Tensor, embedding: Tensor, rng: torch.Generator) -> None:
        n, settings = len(s), self.settings
        shuffled = [torch.randperm(n, generator=rng) for _ in range(settings.n_permutations)]
        orders = torch.stack([torch.arange(n), *shuffled])  # [1 + permutations, n]
        _add(self.age, half, Moments(s, age[orders].T))
        if n < 2:
            return
        pairs = random_pairs(n, max(1, round(settings.n_pairs * n / settings.n_samples)), rng)
        for i, j in (part.T for part in pairs.split(PAIRS_AT_ONCE)):
            distance = (embedding[orders[:, i]] - embedding[orders[:, j]]).norm(dim=2)  # [1 + permutations, pairs]
            _add(self.id, half, Moments((s[i] - s[j]).abs(), distance.T))

    def channels(self, networks: Networks) -> Channels:
        """The channel statistics of the networks' generator."""
        age, identity = self.age[0] + self.age[1], self.id[0] + self.id[1]
        r_age, r_id = age.correlation(), identity.correlation()
        direction, age_r2 = self.path.fit(RIDGE)
        settings = self.settings
        conv = networks.space.conv_mask
        return Channels(
            generator=networks.name,
            n_samples=settings.n_samples,
            n_pairs=identity.n,
            n_permutations=settings.n_permutations,
            seed=self.seed,
            psi=settings.psi,
            coef_age=r_age[:, 0].abs().float(),
            coef_id=r_id[:, 0].abs().float(),
            r_age=r_age[:, 0].float(),
            p_age=p_values(r_age[:, 0].abs(), r_age[:, 1:].abs()),
            p_id=p_values(r_id[:, 0].abs(), r_id[:, 1:].abs()),
            null_age=_quantiles(r_age[:, 1:].abs()),
            null_id=_quantiles(r_id[:, 1:].abs()),
            stability_age=_stability(self.age, conv),
            stability_id=_stability(self.id, conv),
            s_mean=age.mean.float(),
            s_std=age.std.float(),
            age_year=(direction / direction.dot(direction)).float(),  # predicts one year more
            age_r2=age_r2,
        )


def random_pairs(n: int, n_pairs: int, rng: torch.Generator) -> Tensor:
    """Pairs of distinct rows below `n`, drawn with replacement; `[n_pairs, 2]`."""
    first = torch.randint(n, (n_pairs,), generator=rng)
    second = (first + torch.randint(1, n, (n_pairs,), generator=rng)) % n
    return torch.stack([first, second], dim=1)


def p_values(found: Tensor, null: Tensor) -> Tensor:
    """P-values `[C]`: share of the `null` values, pooled over all channels, at least as large as each of `found` `[C]`.

    The observed value counts as one of the null, so that no p-value is 0 (Phipson, Smyth 2010).
    """
    pooled = null.flatten().sort().values
    larger = len(pooled) - torch.searchsorted(pooled, found.contiguous(), right=False)
    return ((1 + larger) / (1 + len(pooled))).float()


def _quantiles(null: Tensor) -> Tensor:
    pooled = null.flatten().sort().values
    return pooled[torch.linspace(0, len(pooled) - 1, QUANTILES).round().long()].float()


def _stability(halves: dict[int, Moments], conv: Tensor) -> float:
    a, b = (halves[half].correlation()[conv, 0].abs().numpy() for half in (0, 1))
    return float(spearmanr(a, b).statistic)


def _add(sums: dict[int, Moments], half: int, more: Moments) -> None:
    sums[half] = sums[half] + more if half in sums else more
