"""The objective of the refinement: the paper's four loss terms, an optional fifth, and their weighted sum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from adfd.basics.errors import AdfdError
from adfd.methods.anchors import Constants
from adfd.models.networks import Networks

TERMS = ("aging", "id", "l2", "perceptual", "gender")


@dataclass(frozen=True)
class LossWeights:
    """Weights (the paper's lambdas) of the loss terms, and the variants of two of them."""

    aging: float
    """Squared difference of ages, in centuries, to the anchor's estimated age or to the requested one."""
    id: float
    """1 - identity similarity to the anchor."""
    l2: float
    """Mean squared pixel difference to the anchor."""
    perceptual: float
    """Perceptual distance to the anchor."""
    gender: float
    """Cross-entropy of the gender reading to the anchor's."""
    aging_target: str
    """anchor (the paper's) | requested."""
    use_weighted_id_loss: bool
    """Relax the identity term where the candidate's age is still far from the anchor's (the paper's)."""

    def __post_init__(self) -> None:
        for term in TERMS:
            weight = getattr(self, term)
            if not (math.isfinite(weight) and weight >= 0):
                raise AdfdError(f"loss.{term} must be a number of at least 0, got {weight}")
        if self.aging_target not in ("anchor", "requested"):
            raise AdfdError(f"loss.aging_target must be anchor or requested, got {self.aging_target}")
        if not any(getattr(self, term) for term in TERMS):
            raise AdfdError(
                "all weights of loss are 0; at least one of loss.{" + ",".join(TERMS) + "} must be positive"
            )


@dataclass(frozen=True)
class Losses:
    """Losses of N candidates, one value each: no candidate influences another."""

    total: Tensor
    """`[N]`, with gradient."""
    terms: dict[str, Tensor]
    """Each term before its weight, `[N]`."""
    age: Tensor
    """`[N]`, the estimated age, in years."""

    def readings(self) -> list[dict[str, float]]:
        """Loss, terms and age of each candidate, by name, fetched from the device in one transfer."""
        names = ("loss", *self.terms, "age")
        columns = [self.total.detach(), *(term.detach() for term in self.terms.values()), self.age]
        return [dict(zip(names, row, strict=True)) for row in torch.stack(columns, dim=1).tolist()]


def objective(
    networks: Networks,
    img: Tensor,
    anchors: Constants,
    weights: LossWeights,
    previous_age: Tensor | None,
    views: list[int] | None = None,
) -> Losses:
    """Loss of candidates `img` `[N, 3, 256, 256]` (pooled) against their anchors.

    `previous_age` `[N]` is the age read on each candidate one step before, NaN at a candidate's first step; it weighs
    the identity term as the published implementation does. Terms of weight 0 are not computed. `views` are those on
    which each candidate's age is read; without them it is read on the picture as it is.
    """
    seen = img if views is None else torch.cat([networks.views.show(img[i : i + 1], v) for i, v in enumerate(views)])
    age = networks.age(seen)
    goal = anchors.age if weights.aging_target == "anchor" else anchors.target_age
    terms = {"aging": ((age - goal) / 100).square()}
    if weights.id:
        terms["id"] = 1 - networks.id_similarity(networks.embed(img), anchors.embedding)
        if weights.use_weighted_id_loss and previous_age is not None:
            terms["id"] = terms["id"] * identity_weight(anchors.age, previous_age)
    if weights.l2:
        terms["l2"] = (img - anchors.img).square().mean(dim=(1, 2, 3))
    if weights.perceptual:
        terms["perceptual"] = networks.perceptual.distance(networks.perceptual.features(img), anchors.features)
    if weights.gender:
        terms["gender"] = -(anchors.log_gender.exp() * networks.gender(img)).sum(dim=1)
    weighted = [getattr(weights, name) * term for name, term in terms.items()]
    return Losses(torch.stack(weighted).sum(dim=0), terms, age.detach())


def identity_weight(anchor_age: Tensor, previous_age: Tensor) -> Tensor:
    """0.25 cos(pi |anchor_age - previous_age| / 100) + 0.75: 1 at equal ages, 0.5 a century apart; 1 where NaN."""
    return (0.25 * torch.cos(torch.pi * (anchor_age - previous_age).abs() / 100) + 0.75).nan_to_num(nan=1.0)
