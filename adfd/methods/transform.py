"""Baseline: the age transformer alone. Its output is the anchor itself."""

from __future__ import annotations

from collections.abc import Iterator

from adfd.basics.seeding import Draws
from adfd.methods.anchors import Anchors
from adfd.methods.refine import OnStep, Sample
from adfd.models.networks import Networks


def transform(networks: Networks, anchors: Anchors, draws: Draws, *, on_step: OnStep) -> Iterator[Sample]:
    """Yield the anchor's code `[C]` unchanged for each draw."""
    for row, output in zip(draws.rows, draws.outputs, strict=True):
        yield Sample(row, output, anchors.s[row], converged=True)
