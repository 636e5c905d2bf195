"""Baseline: SAM's reference-guided mixing, which takes some layers of `w_plus` from photos of other people.

(Alaluf, Patashnik, Cohen-Or, "Only a Matter of Style: Age Transformation Using a Style-Based Regression Model", 2021.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from adfd.basics.batching import row_by_row
from adfd.basics.errors import AdfdError
from adfd.basics.seeding import Draws
from adfd.methods.anchors import Anchors
from adfd.methods.realign import Realignment, realigned
from adfd.methods.refine import OnStep, Sample
from adfd.models.networks import Networks
from adfd.models.sources import Sources
from adfd.stylespace.layout import StyleSpace


@torch.no_grad()
def reference_mixing(
    networks: Networks,
    anchors: Anchors,
    draws: Draws,
    *,
    references: Sources,
    layers: Sequence[int],
    strength: float,
    on_step: OnStep,
    realignment: Realignment | None = None,
    batch_size: int = 1,
    age_image: str = "pooled",
) -> Iterator[Sample]:
    """Interpolate the rows `layers` of the anchor's `w_plus` towards those of a reference, then realign.

    `strength` in 0..1: 0 keeps the anchor's rows, 1 takes the reference's. Output k uses reference k; nothing is
    random. Raises AdfdError where `strength` or `layers` are out of range.
    """
    layers = checked_layers(networks.space, layers)
    check_strength(strength)
    w_plus = anchors.w_plus[list(draws.rows)]  # [M, L, 512]
    taken = references.w_plus[list(draws.outputs)][:, layers].to(w_plus)
    w_plus[:, layers] = w_plus[:, layers].lerp(taken, strength)
    mixed = zip(draws.rows, draws.outputs, row_by_row(networks.affine, w_plus), strict=True)
    samples = [Sample(row, output, s, converged=True) for row, output, s in mixed]
    yield from realigned(networks, anchors, samples, realignment, batch_size, age_image)


def sams_layers(space: StyleSpace, resolution: int = 64) -> list[int]:
    """Rows of `w_plus` that correspond to SAM's layers 8 and 9 of 18 (`resolution` 64).

    These feed the layers at `resolution` px that follow the upsampling convolution, and the upsampling convolution to
    twice that size. Empty where the generator has no such layers.
    """
    own = [layer.w_row for layer in space.layers if layer.resolution == resolution]
    next_size = [layer.w_row for layer in space.layers if layer.resolution == 2 * resolution]
    return sorted({*own[1:], *next_size[:1]})


def checked_layers(space: StyleSpace, layers: Sequence[int]) -> list[int]:
    """Sorted row indices without duplicates.

    Raises AdfdError where `layers` is empty or the generator's `w_plus` has no such row.
    """
    last = space.n_w_rows - 1
    if not layers:
        raise AdfdError(f"method.layers is empty; name rows of w_plus, 0..{last} for this generator")
    for layer in layers:
        if not 0 <= layer <= last:
            raise AdfdError(f"method.layers must lie in 0..{last} for this generator, got {layer}")
    return sorted(set(layers))


def check_strength(strength: float) -> None:
    """Raise AdfdError where `strength` is not in 0..1."""
    if not 0 <= strength <= 1:
        raise AdfdError(f"method.strength must lie in 0..1, got {strength:g}")
