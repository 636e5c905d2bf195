"""Anchors: the age transformer's renderings at the target age: start and reference of every edit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adfd.basics.batching import row_by_row
from adfd.models.networks import Networks
from adfd.models.sources import Sources


@dataclass(frozen=True)
class Anchors:
    """N anchors with the judges' readings of them, computed once and constant during the refinement."""

    sources: Sources
    target_age: Tensor
    """`[N]`, the requested age, in years."""
    w_plus: Tensor
    """`[N, L, 512]`"""
    s: Tensor
    """`[N, C]`"""
    img: Tensor
    """`[N, 3, 256, 256]` in [-1, 1], the pooled rendering."""
    age: Tensor
    """`[N]`, the estimated age of the rendering, in years."""
    embedding: Tensor
    """`[N, D]`"""
    features: tuple[Tensor, ...]
    """Perceptual features, `[N, c, h, w]` each."""
    log_gender: Tensor
    """`[N, 2]`, log-probabilities (female, male)."""
    spread: Tensor
    """`[N]`, in years: standard deviation of `age` over the views; large where the age judge is uncertain."""

    def __len__(self) -> int:
        return len(self.target_age)

    def constants(self, rows: list[int]) -> Constants:
        """The readings that the loss compares candidates with; `rows` holds the anchor row of each candidate."""
        fields = (self.target_age, self.img, self.age, self.embedding, self.log_gender)
        target_age, img, age, embedding, log_gender = (field[rows] for field in fields)
        return Constants(target_age, img, age, embedding, tuple(maps[rows] for maps in self.features), log_gender)


@dataclass(frozen=True)
class Constants:
    """The anchors' readings for a batch of candidates, one row for each candidate; fields as in `Anchors`."""

    target_age: Tensor
    img: Tensor
    age: Tensor
    embedding: Tensor
    features: tuple[Tensor, ...]
    log_gender: Tensor


def transformed_anchors(
    networks: Networks, sources: Sources, target_age: float, batch_size: int, age_image: str = "pooled"
) -> Anchors:
    """Anchors of the sources at one target age, in years, as the age transformer makes them.

    Their estimated age may differ from the target age; `guided_anchors` corrects that. Raises AdfdError where the
    networks have no age transformer.
    """
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
    """Anchors from target ages `[N]`, in years, and latents `[N, L, 512]`, rendered `batch_size` at a time and judged.

    `age_image` is the picture given to the age judge: "pooled", as in the loss, or "full", at the generator's
    resolution, as published.
    """
    s = row_by_row(networks.affine, w_plus)
    img, age, spread = networks.render_read(s, batch_size, age_image)
    embeddings, features = zip(*map(networks.recognise, img.split(1)), strict=True)
    return Anchors(
        sources=sources,
        target_age=target_age,
        w_plus=w_plus,
        s=s,
        img=img,
        age=age,
        embedding=torch.cat(embeddings),
        features=tuple(map(torch.cat, zip(*features, strict=True))),
        log_gender=row_by_row(networks.gender, img),
        spread=spread,
    )
