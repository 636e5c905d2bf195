"""Inversion: find by optimisation the latents from which the generator reproduces a given face."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adfd.basics.pooling import POOLED_SIZE, pool
from adfd.models.networks import Networks
from adfd.models.principal_axes import principal_axes


@dataclass(frozen=True)
class Inversion:
    """Latents of N faces, with the loss and its parts at each face's best step."""

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
        """`[N]`, bool: True where no step gave a finite loss."""
        return self.loss.isinf()


def invert(
    networks: Networks,
    img: Tensor,
    *,
    steps: int,
    full_steps: int | None = None,
    lr: float,
    pixel: float,
    perceptual: float,
    id: float,
    pull: float,
    on_step: Callable[[Tensor, Tensor], None] = lambda loss, id_distance: None,
) -> Inversion:
    """Find `w_plus` for pooled crops `img` `[N, 3, 256, 256]` by `steps` steps of Adam from the mean face.

    Adam optimises offsets from `w_avg`: one shared by all rows of `w_plus` and one for each row, in standard deviations
    along the principal axes of W, which keeps the latents where faces lie, so that they can be edited. The loss of a
    sample is `pixel` * mean square difference + `perceptual` * perceptual distance + `id` * (1 - identity similarity)
    + `pull` * mean square offset. Where the networks have a draft, only the last `full_steps` steps (None: all) draw
    with the generator itself. The learning rate falls from `lr` to 0 along a cosine, over the draft's steps by half.

    Samples are independent: each gets the latents of its own best step of the generator, and a loss that is not a
    number fails only its own sample. `on_step(loss, id_distance)`, `[N]` each, is called at the start and after every
    step.
    """
    drafted = max(0, steps - full_steps) if networks.draft is not None and full_steps is not None else 0
    size = min(POOLED_SIZE, networks.generator.resolution)
    w_avg = networks.generator.w_avg
    with torch.no_grad():
        target = pool(img.to(w_avg), size)
        embedding, features = networks.recognise(target)
        axes = principal_axes(networks)

    offset = w_avg.new_zeros(len(img), 1 + networks.space.n_w_rows, len(w_avg)).requires_grad_()
    adam = torch.optim.Adam([offset], lr=lr, betas=(0.9, 0.99))
    best_w_plus = w_avg.repeat(len(img), networks.space.n_w_rows, 1)
    best_loss = torch.full((len(img),), torch.inf, device=w_avg.device)
    best_readings = torch.full((4, len(img)), torch.nan, device=w_avg.device)
    for step in range(steps + 1):
        w_plus = w_avg + (offset[:, :1] + offset[:, 1:]) @ axes  # [N, L, 512]
        drawing = networks.drafting() if step < drafted else networks
        drawn = drawing.synthesis_pooled(networks.affine(w_plus), size)
        drawn_embedding, drawn_features = networks.recognise(drawn)
        id_similarity = networks.id_similarity(drawn_embedding, embedding)
        pixel_error = (drawn - target).square().mean(dim=(1, 2, 3))
        distance = networks.perceptual.distance(drawn_features, features)
        stray = offset.square().mean(dim=(1, 2))
        loss = pixel * pixel_error + perceptual * distance + id * (1 - id_similarity) + pull * stray

        with torch.no_grad():
            id_distance = (drawn_embedding - embedding).norm(dim=1)
            readings = torch.stack([id_similarity, id_distance, pixel_error, distance])
            better = (loss < best_loss) & (step >= drafted)  # False where the loss is not a number
            best_loss = torch.where(better, loss, best_loss)
            best_readings = torch.where(better, readings, best_readings)
            best_w_plus = torch.where(better[:, None, None], w_plus, best_w_plus)
            on_step(loss, id_distance)
        if step < steps:
            adam.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * share(step, steps, drafted))) / 2
            (offset.grad,) = torch.autograd.grad(loss.sum(), offset)
            adam.step()
    return Inversion(best_w_plus, best_loss, *best_readings)


def share(step: int, steps: int, drafted: int) -> float:
    """How far along its cosine the learning rate is, 0 to 1: halfway after the `drafted` first of the steps."""
    if step < drafted:
        return step / drafted / 2
    done = (step - drafted) / (steps - drafted)
    return (1 + done) / 2 if drafted else done
