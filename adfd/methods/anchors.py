"""Anchors: the age transformer's renderings at the target age, where every edit starts and what it is held to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adfd.basics.batching import row_by_row
from adfd.models.networks import Networks
from adfd.models.sources import Sources


@dataclass(frozen=True)
class Anchors:
    """N anchors and all that the judges read on them, computed once and constant during a refinement."""

    sources: Sources
    target_age: Tensor
    """`[N]`, the requested age, in years."""
    w_plus: Tensor
    """`[N, L, 512]`"""
    s: Tensor
    """`[N, C]`"""
    img: Tensor
    """`[N, 3, 256, 256]`, the pooled rendering."""
    age: Tensor
    """`[N]`, the estimated age of the rendering, in years."""
    embedding: Tensor
    """`[N, D]`"""
    features: tuple[Tensor, ...]
    """Perceptual features, `[N, c, h, w]` each."""
    log_gender: Tensor
    """`[N, 2]`"""
    spread: Tensor
    """`[N]`, in years: how much the estimated age differs between the views; large where the anchor is doubtful."""

    def __len__(self) -> int:
        return len(self.target_age)

    def constants(self, rows: list[int]) -> Constants:
        """What a loss compares candidates with, one row for each candidate's anchor."""
        fields = (self.target_age, self.img, self.age, self.embedding, self.log_gender)
        target_age, img, age, embedding, log_gender = (field[rows] for field in fields)
        return Constants(target_age, img, age, embedding, tuple(maps[rows] for maps in self.features), log_gender)


@dataclass(frozen=True)
class Constants:
    """The anchors of a batch of candidates, row by row; fields as in `Anchors`."""

    target_age: Tensor
    img: Tensor
    age: Tensor
    embedding: Tensor
    features: tuple[Tensor, ...]
    log_gender: Tensor


def transformed_anchors(
    networks: Networks, sources: Sources, target_age: float, batch_size: int, age_image: str = "pooled"
) -> Anchors:
    """Anchors of the sources at one target age as the age transformer makes them, whatever age they then read."""
    ages = torch.full_like(sources.age, target_age)
    return render_anchors(networks, sources, ages, networks.transform(sources, ages), batch_size, age_image)


@torch.no_grad()
def render_anchors(
    networks: Networks,
    sources: Sources,
    target_age: Tensor,
    w_plus: Tensor,
    batch_size: int,
    age_image: str = "pooled",
) -> Anchors:
    """Anchors from latents `[N, L, 512]`, rendered `batch_size` at a time and read by the judges.

    `age_image` says on which picture the age is read: "pooled", as candidates' ages are, or "full", as published.
    """
    s = row_by_row(networks.affine, w_plus)
    img, age, spread = networks.render_read(s, batch_size, age_image)
    return Anchors(
        sources=sources,
        target_age=target_age,
        w_plus=w_plus,
        s=s,
        img=img,
        age=age,
        embedding=row_by_row(networks.embed, img),
        features=tuple(map(torch.cat, zip(*map(networks.perceptual.features, img.split(1)), strict=True))),
        log_gender=row_by_row(networks.gender, img),
        spread=spread,
    )
