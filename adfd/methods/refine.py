"""Refinement: Adam on StyleSpace codes, many at once, each until its own loss plateaus."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from adfd.basics.batching import OutOfMemory, halved
from adfd.basics.errors import AdfdError
from adfd.methods.anchors import Anchors
from adfd.methods.objective import LossWeights, objective
from adfd.models.networks import Networks


@dataclass(frozen=True)
class Refinement:
    """Optimiser and stopping rule."""

    lr: float
    """Adam's learning rate."""
    max_steps: int
    """Gradient steps at most; 0 leaves the codes as they are."""
    patience: int
    """Steps in a row within `min_delta` of the last loss that moved, before a sample stops."""
    min_delta: float
    """Change of the loss that counts as movement."""
    batch_size: int
    """Samples that share a forward pass; more waits for its turn."""
    keep: str
    """Which step a sample returns: best (lowest loss) | last | last_moved (as published; not always the best)."""
    views: str = "first"
    """Where the age is read: first (the picture as it is) | turn (another view at each step, in an order of the
    output's own: a picture that reads right in one position alone gains nothing)."""
    channels: str = "all"
    """Which convolution channels move: all | perturbed (with a weight above 0) | age (those above noise)."""

    def __post_init__(self) -> None:
        for key, least in (("max_steps", 0), ("patience", 1), ("batch_size", 1), ("min_delta", 0)):
            if not getattr(self, key) >= least:
                raise AdfdError(f"refine.{key} must be at least {least}, got {getattr(self, key)}")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise AdfdError(f"refine.lr must be positive, got {self.lr}")
        if self.keep not in ("best", "last", "last_moved"):
            raise AdfdError(f"refine.keep must be best, last or last_moved, got {self.keep}")
        if self.views not in ("first", "turn"):
            raise AdfdError(f"refine.views must be first or turn, got {self.views}")
        if self.channels not in ("all", "perturbed", "age"):
            raise AdfdError(f"refine.channels must be all, perturbed or age, got {self.channels}")


@dataclass
class Sample:
    """One code under refinement, and in the end its result.

    `row` is its anchor's, `output` its index among the outputs of one photo. `s` `[C]` is the code of the kept step,
    whose loss, terms (before their weights) and age are in `losses`.
    """

    row: int
    output: int
    s: Tensor
    losses: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    converged: bool = False
    failure: str = ""
    seed: int = 0
    reached: bool | None = None
    """Whether it keeps what was asked of it; None where nothing was asked."""
    searched: int = 0
    """Of the evaluations, those before the first step."""
    candidates: list[dict[str, Any]] = field(default_factory=list)
    """What was drawn for it: readings, and the reason where it fell."""

    reference: float = math.inf
    plateau: int = 0
    previous_age: float = math.nan


OnStep = Callable[[Sample, int, dict[str, float]], None]
"""Called at every step with the sample, the step's number from 0, and the losses and the age there, by name."""


def refine(
    networks: Networks,
    anchors: Anchors,
    samples: list[Sample],
    loss: LossWeights,
    refinement: Refinement,
    on_step: OnStep = lambda sample, step, losses: None,
    free: Tensor | None = None,
) -> Iterator[Sample]:
    """Optimise the convolution channels of every sample's code against its anchor; yield each when it has finished.

    A sample leaves when its loss plateaus, after `max_steps`, or with `failure` set when its loss is not finite; the
    next one takes its place in the batch, which is halved where the device's memory does not hold it. Every sample has
    its own optimiser state, so what it becomes does not depend on its company. toRGB channels stay at the anchor's
    values; `free` `[C]` holds more channels, where they started.
    """
    if refinement.max_steps == 0:
        yield from samples
        return
    moving = networks.conv_mask if free is None else networks.conv_mask & free
    starts = [sample.s for sample in samples]
    codes = [sample.s.clone().requires_grad_() for sample in samples]
    adam = torch.optim.Adam(codes, lr=refinement.lr)
    running = list(range(len(samples)))
    active: list[int] = []
    size = refinement.batch_size
    while running:
        if active != running[:size]:
            active = running[:size]
            rows = [samples[i].row for i in active]
            constants, held = anchors.constants(rows), anchors.s[rows]
            if free is not None:
                held = torch.where(networks.conv_mask, torch.stack([starts[i] for i in active]), held)
        started = time.perf_counter()
        s = torch.where(moving, torch.stack([codes[i] for i in active]), held)
        previous_age = torch.tensor([samples[i].previous_age for i in active], device=s.device)
        turns = refinement.views == "turn"
        views = [networks.views.turn(samples[i].seed, samples[i].steps) for i in active] if turns else None
        adam.zero_grad(set_to_none=True)
        fits = False
        with suppress(OutOfMemory):
            losses = objective(networks, networks.synthesis_pooled(s), constants, loss, previous_age, views)
            readings = losses.readings()
            if any(samples[i].steps < refinement.max_steps for i in active):
                losses.total.sum().backward()
            fits = True
        if not fits:  # out here, where the error no longer holds the tensors of the attempt
            size = halved(len(active))
            continue
        finished = []
        for i, code, reading in zip(active, s.detach(), readings, strict=True):
            on_step(samples[i], samples[i].steps, reading)
            if _advance(samples[i], code, reading, refinement):
                finished.append(i)
        if len(finished) < len(active):
            for i in finished:
                codes[i].grad = None  # Adam leaves parameters without gradient alone
            adam.step()
        elapsed = (time.perf_counter() - started) / len(active)
        for i in active:
            samples[i].seconds += elapsed
        for i in finished:
            running.remove(i)
            yield samples[i]


def _advance(sample: Sample, s: Tensor, losses: dict[str, float], refinement: Refinement) -> bool:
    """Take in the losses of a sample's current code; return whether it has finished."""
    loss = losses["loss"]
    sample.evaluations += 1
    if not math.isfinite(loss):
        sample.failure = f"the loss became {loss} at step {sample.steps}; a lower refine.lr may help"
        return True
    moved = not abs(loss - sample.reference) < refinement.min_delta
    sample.plateau = 0 if moved else sample.plateau + 1
    best = loss < sample.losses.get("loss", math.inf)
    if {"best": best, "last": True, "last_moved": moved}[refinement.keep]:
        sample.s, sample.losses = s, losses
    if moved:
        sample.reference = loss
    sample.previous_age = losses["age"]
    sample.converged = sample.plateau >= refinement.patience
    finished = sample.converged or sample.steps >= refinement.max_steps
    sample.steps += not finished
    return finished
