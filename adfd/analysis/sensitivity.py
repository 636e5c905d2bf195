"""Sensitivity: derivatives of age, identity and the regions of the picture with respect to every channel.

One backward pass gives the derivative of one number with respect to all channels, whereas the intervention renders two
pictures for each channel. Derivatives are exact, but describe small changes only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from adfd.analysis.random_faces import check_psi, faces, known_channels
from adfd.analysis.shards import Arrays, OnUnit, Shards
from adfd.basics.errors import AdfdError
from adfd.basics.seeding import output_seed
from adfd.models.networks import Networks
from adfd.stylespace.regions import region_masks
from adfd.stylespace.statistics import Channels


@dataclass(frozen=True)
class Sensitivity:
    """Settings of the sensitivity analysis. Raises AdfdError for impossible ones."""

    n_faces: int
    """Number of random faces."""
    psi: float
    """Truncation of the random faces; 1 for none."""

    unit = "face"
    verb = "differentiate"
    extends = True

    def __post_init__(self) -> None:
        if self.n_faces < 1:
            raise AdfdError(f"analysis.n_faces must be at least 1, got {self.n_faces}")
        check_psi(self.psi)

    @property
    def key(self) -> dict[str, Any]:
        """Settings that the derivatives at a face depend on, besides networks and seed."""
        return {"analysis": "sensitivity", "psi": self.psi}

    def n_units(self, networks: Networks) -> int:
        """Number of faces."""
        return self.n_faces

    def rehearse(self, networks: Networks, seed: int) -> None:
        """Do one unit of the work, to measure its duration."""
        derivatives(networks, faces(networks, 1, self.psi, seed), 0, lambda n: None)

    def __call__(self, networks: Networks, seed: int, shards: Shards) -> Channels:
        """Compute the sensitivities of age, identity and each region's pixels; returns the completed statistics.

        The norms of the columns of a Jacobian J, of embedding or pixels by channels, are estimated by random
        projections: for a standard normal vector v, the mean of (v J)² is the squared norm of each column. There is one
        projection for each face and region.
        """
        w = faces(networks, self.n_faces, self.psi, seed)
        done = [
            shards(f"face-{i:05}", 1, partial(derivatives, networks, w[i : i + 1], output_seed(seed, "projection", i)))
            for i in range(self.n_faces)
        ]
        known = known_channels(networks, self.psi, seed)
        assert known.s_std is not None
        mean = {key: torch.stack([face[key] for face in done]).mean(dim=0) for key in done[0]}
        return replace(
            known,
            n_faces_sensitivity=self.n_faces,
            sensitivity_age=mean["age"] * known.s_std,
            sensitivity_id=mean["embedding"].sqrt() * known.s_std,
            region_sensitivity=mean["regions"].sqrt() * known.s_std[:, None],
        )


def derivatives(networks: Networks, w: Tensor, seed: int, on_unit: OnUnit) -> Arrays:
    """Derivatives with respect to the channels at one face `w` `[1, 512]`, per unit of style.

    `age` `[C]`, in years; `embedding` `[C]` and `regions` `[C, R]`: squared random projections of the Jacobians of the
    embedding and of the picture, the latter averaged over the pixels and colours of each region.
    """
    rng = torch.Generator().manual_seed(seed)
    s = networks.affine(w).detach().requires_grad_()
    img = networks.synthesis_pooled(s)
    embedding = networks.embed(img)

    def by_channels(projection: Tensor) -> Tensor:
        return torch.autograd.grad(projection.sum(), s, retain_graph=True)[0][0]

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=rng).to(like)

    masks = region_masks(img.shape[-1]).to(img)
    pixels = 3 * masks.sum(dim=(1, 2)).clamp_min(1)
    regions = [by_channels(img * normal(img) * mask).square() / n for mask, n in zip(masks, pixels, strict=True)]
    on_unit(1)
    return {
        "age": by_channels(networks.age(img)),
        "embedding": by_channels(embedding * normal(embedding)).square(),
        "regions": torch.stack(regions, dim=1),
    }
