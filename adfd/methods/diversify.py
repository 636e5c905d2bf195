"""The paper's first method: perturb the channels on which age depends and identity does not, then refine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from adfd.basics.batching import row_by_row
from adfd.basics.errors import AdfdError
from adfd.basics.seeding import Draws
from adfd.methods.anchors import Anchors
from adfd.methods.objective import LossWeights
from adfd.methods.refine import OnStep, Refinement, Sample, refine
from adfd.models.networks import REMEDY, Networks
from adfd.stylespace.layout import StyleSpace
from adfd.stylespace.statistics import Channels
from adfd.stylespace.weights import ChannelWeights, channel_weights


@dataclass(frozen=True)
class Perturbation:
    """How a random style is added to the anchor's."""

    scale: float
    """Factor on the random style; 0 perturbs nothing."""
    center: bool
    """Add the random style's difference from the mean style (true) or the style whole, as published (false).

    A generator that demodulates its convolutions forgives the latter; one without does not.
    """
    mask: str
    """weights (from the channel analysis) | uniform | random: the ablations of the channel analysis."""
    weights: ChannelWeights
    """How the channel analysis becomes weights."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise AdfdError(f"method.perturbation.scale must be a finite number, got {self.scale}")
        if self.mask not in ("weights", "uniform", "random"):
            raise AdfdError(f"method.perturbation.mask must be weights, uniform or random, got {self.mask}")


def diversify(
    networks: Networks,
    anchors: Anchors,
    draws: Draws,
    *,
    perturbation: Perturbation,
    loss: LossWeights,
    refinement: Refinement,
    on_step: OnStep,
) -> Iterator[Sample]:
    """`s_0 = s_anchor + m * S(mapping(z))`, refined until age and identity are the anchor's."""
    s_0 = perturb(networks, anchors.s[list(draws.rows)], draws.z, perturbation)
    samples = [Sample(*start) for start in zip(draws.rows, draws.outputs, s_0, strict=True)]
    yield from refine(networks, anchors, samples, loss, refinement, on_step)


@torch.no_grad()
def perturb(networks: Networks, s_anchor: Tensor, z: Tensor, perturbation: Perturbation) -> Tensor:
    """Codes `[M, C]` perturbed by the styles of latents `[M, 512]`: `[M, C]`.

    Raises AdfdError where the networks have no channel weights.
    """
    if networks.channels is None:
        raise AdfdError(f"diversify needs channel weights, and {networks.name} has none; {REMEDY}")
    s = row_by_row(lambda z: networks.affine(networks.mapping(z)), z)
    if perturbation.center:
        s = s - networks.s_mean
    m = mask(networks.channels, networks.space, perturbation).to(s)
    return s_anchor + perturbation.scale * m * s


def mask(channels: Channels, space: StyleSpace, perturbation: Perturbation) -> Tensor:
    """`m` `[C]` in 0..1, 0 on toRGB channels; the ablations have the mean of the analysed weights, spread otherwise."""
    m = channel_weights(channels, space, perturbation.weights)
    if perturbation.mask == "weights":
        return m
    mean = m[space.conv_mask].mean()
    if perturbation.mask == "uniform":
        return mean * space.conv_mask
    return 2 * mean * torch.rand(len(m), generator=torch.Generator().manual_seed(0)) * space.conv_mask
