"""Inversion: the latents from which the generator draws a given face, found by optimisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adfd.basics.pooling import POOLED_SIZE, pool
from adfd.models.networks import Networks

N_LATENTS = 4096
"""Random latents that show how W is spread."""


@dataclass(frozen=True)
class Inversion:
    """Latents of N faces, and how well each is drawn: the readings of its best step."""

    w_plus: Tensor
    """`[N, L, 512]`"""
    loss: Tensor
    """`[N]`, infinite where the optimisation failed."""
    id_similarity: Tensor
    """`[N]`"""
    id_distance: Tensor
    """`[N]`, Euclidean distance of the identity embeddings."""
    pixel_error: Tensor
    """`[N]`, mean square difference of the pooled images, which are in [-1, 1]."""
    perceptual: Tensor
    """`[N]`, perceptual distance."""

    @property
    def failed(self) -> Tensor:
        """True where no step gave a finite loss; `[N]`, bool."""
        return self.loss.isinf()


def invert(
    networks: Networks,
    img: Tensor,
    *,
    steps: int,
    lr: float,
    pixel: float,
    perceptual: float,
    id: float,
    pull: float,
    on_step: Callable[[Tensor, Tensor], None] = lambda loss, id_distance: None,
) -> Inversion:
    """Find `w_plus` for pooled crops `img` `[N, 3, 256, 256]` by `steps` steps of Adam from the mean face.

    Adam moves an offset from `w_avg` that all rows share and one of each row's own, in standard deviations along the
    principal axes of W: so it goes where faces are, and what it finds can be edited. A sample's loss is `pixel` * mean
    square difference + `perceptual` * perceptual distance + `id` * (1 - identity similarity) + `pull` * mean square
    offset; `lr` falls to 0 along a cosine. Samples do not influence one another: each gets the latents of its own best
    step, and one whose loss is not a number fails alone. `on_step` is told the loss `[N]` and the identity distance
    `[N]` at the start and after every step.
    """
    size = min(POOLED_SIZE, networks.generator.resolution)
    w_avg = networks.generator.w_avg
    with torch.no_grad():
        target = pool(img.to(w_avg), size)
        features, embedding = networks.perceptual.features(target), networks.embed(target)
        axes = principal_axes(networks)

    offset = w_avg.new_zeros(len(img), 1 + networks.space.n_w_rows, len(w_avg)).requires_grad_()
    adam = torch.optim.Adam([offset], lr=lr, betas=(0.9, 0.99))
    best_w_plus = w_avg.repeat(len(img), networks.space.n_w_rows, 1)
    best_loss = torch.full((len(img),), torch.inf, device=w_avg.device)
    best_readings = torch.full((4, len(img)), torch.nan, device=w_avg.device)
    for step in range(steps + 1):
        w_plus = w_avg + (offset[:, :1] + offset[:, 1:]) @ axes  # [N, L, 512]
        drawn = networks.synthesis_pooled(networks.affine(w_plus), size)
        drawn_embedding = networks.embed(drawn)
        id_similarity = networks.id_similarity(drawn_embedding, embedding)
        pixel_error = (drawn - target).square().mean(dim=(1, 2, 3))
        distance = networks.perceptual.distance(networks.perceptual.features(drawn), features)
        stray = offset.square().mean(dim=(1, 2))
        loss = pixel * pixel_error + perceptual * distance + id * (1 - id_similarity) + pull * stray

        with torch.no_grad():
            id_distance = (drawn_embedding - embedding).norm(dim=1)
            readings = torch.stack([id_similarity, id_distance, pixel_error, distance])
            better = loss < best_loss  # never, for a loss that is not a number
            best_loss = torch.where(better, loss, best_loss)
            best_readings = torch.where(better, readings, best_readings)
            best_w_plus = torch.where(better[:, None, None], w_plus, best_w_plus)
            on_step(loss, id_distance)
        if step < steps:
            adam.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
            (offset.grad,) = torch.autograd.grad(loss.sum(), offset)
            adam.step()
    return Inversion(best_w_plus, best_loss, *best_readings)


def principal_axes(networks: Networks) -> Tensor:
    """Principal axes of W as rows, each as long as the standard deviation of random faces along it; `[512, 512]`."""
    z = torch.randn(N_LATENTS, networks.generator.w_dim, generator=torch.Generator().manual_seed(0))
    w = networks.mapping(z.to(networks.device)) - networks.generator.w_avg
    variances, axes = torch.linalg.eigh(w.T @ w / len(w))
    return variances.clamp_min(0).sqrt()[:, None] * axes.T
