"""Baseline: SAM's style mixing, which takes the fine layers of `w_plus` from random faces.

(Alaluf, Patashnik, Cohen-Or, "Only a Matter of Style: Age Transformation Using a Style-Based Regression Model", 2021.)
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from adfd.basics.batching import row_by_row
from adfd.basics.seeding import Draws
from adfd.methods.anchors import Anchors
from adfd.methods.realign import Realignment, realigned
from adfd.methods.refine import OnStep, Sample
from adfd.models.networks import Networks


@torch.no_grad()
def style_mixing(
    networks: Networks,
    anchors: Anchors,
    draws: Draws,
    *,
    from_resolution: int,
    psi: float,
    on_step: OnStep,
    realignment: Realignment | None = None,
    batch_size: int = 1,
    age_image: str = "pooled",
) -> Iterator[Sample]:
    """Replace the rows of the anchor's `w_plus` at `from_resolution` px and above by one random `w`, then realign.

    64 px corresponds to SAM's layers 7..17 of 18. `psi` is the truncation of the random `w`; 1 for none.
    """
    fine = networks.space.w_rows_from(from_resolution)
    w = networks.generator.truncate(row_by_row(networks.mapping, draws.z), psi)  # [M, 512]
    w_plus = anchors.w_plus[list(draws.rows)]  # [M, L, 512]
    w_plus[:, fine] = w[:, None]
    mixed = zip(draws.rows, draws.outputs, row_by_row(networks.affine, w_plus), strict=True)
    samples = [Sample(row, output, s, converged=True) for row, output, s in mixed]
    yield from realigned(networks, anchors, samples, realignment, batch_size, age_image)
