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
    """Weights (the paper's lambdas) of the loss terms, and the variants of the age and identity terms.

    Raises AdfdError for impossible settings, and where all weights are 0.
    """

    aging: float
    """Squared difference, in centuries, of the estimated age to the age that `aging_target` selects."""
    id: float
    """1 - identity similarity to the anchor."""
    l2: float
    """Mean squared pixel difference to the anchor."""
    perceptual: float
    """Perceptual distance to the anchor."""
    gender: float
    """Cross-entropy of the candidate's gender probabilities to the anchor's."""
    aging_target: str
    """anchor (the anchor's estimated age, as in the paper) | requested (the target age)."""
    use_weighted_id_loss: bool
    """Multiply the identity term by `identity_weight`, which is lower while the ages differ (the paper's)."""

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
    """Losses of N candidates, each independent of the other candidates."""

    total: Tensor
    """`[N]`, with gradient."""
    terms: dict[str, Tensor]
    """Each term before it is multiplied by its weight, `[N]`."""
    age: Tensor
    """`[N]`, the estimated age, in years."""

    def readings(self) -> list[dict[str, float]]:
        """Loss, unweighted terms and age of each candidate, by name, copied from the device in one transfer."""
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

    `previous_age` `[N]` is the estimated age of each candidate at the step before, in years, NaN at its first step. It
    determines the weight of the identity term, as in the published implementation; with None the term is not weighted.
    `views` holds the index of the view on which each candidate's age is estimated; with None it is estimated on the
    picture itself. Terms of weight 0 are not computed, except for the age term, which then has no gradient.
    """
    seen = img if views is None else torch.cat([networks.views.show(img[i : i + 1], v) for i, v in enumerate(views)])
    with torch.set_grad_enabled(torch.is_grad_enabled() and weights.aging > 0):
        age = networks.age(seen)
    goal = anchors.age if weights.aging_target == "anchor" else anchors.target_age
    terms = {"aging": ((age - goal) / 100).square()}
    if weights.id and weights.perceptual:
        embedding, features = networks.recognise(img)
    elif weights.id:
        embedding = networks.embed(img)
    elif weights.perceptual:
        features = networks.perceptual.features(img)
    if weights.id:
        terms["id"] = 1 - networks.id_similarity(embedding, anchors.embedding)
        if weights.use_weighted_id_loss and previous_age is not None:
            terms["id"] = terms["id"] * identity_weight(anchors.age, previous_age)
    if weights.l2:
        terms["l2"] = (img - anchors.img).square().mean(dim=(1, 2, 3))
    if weights.perceptual:
        terms["perceptual"] = networks.perceptual.distance(features, anchors.features)
    if weights.gender:
        terms["gender"] = -(anchors.log_gender.exp() * networks.gender(img)).sum(dim=1)
    weighted = [getattr(weights, name) * term for name, term in terms.items()]
    return Losses(torch.stack(weighted).sum(dim=0), terms, age.detach())


def identity_weight(anchor_age: Tensor, previous_age: Tensor) -> Tensor:
    """Weight `[N]` of the identity term for ages `[N]` in years; 1 where `previous_age` is NaN.

    0.25 cos(pi |anchor_age - previous_age| / 100) + 0.75: 1 at equal ages, 0.5 at a difference of 100 years.
    """
    return (0.25 * torch.cos(torch.pi * (anchor_age - previous_age).abs() / 100) + 0.75).nan_to_num(nan=1.0)
