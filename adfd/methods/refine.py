"""Refinement: optimise StyleSpace codes with Adam, in batches, each code until its own loss plateaus."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from adfd.basics.batching import OutOfMemory, full_size, halved
from adfd.basics.errors import AdfdError
from adfd.methods.anchors import Anchors, render_anchors
from adfd.methods.objective import LossWeights, objective
from adfd.models.networks import Networks


@dataclass(frozen=True)
class Refinement:
    """Settings of the optimiser and the stopping rule. Raises AdfdError for impossible ones."""

    lr: float
    """Adam's learning rate."""
    max_steps: int
    """Maximum number of gradient steps; 0 leaves the codes unchanged."""
    draft_steps: int
    """Of these, the first at most that many are taken on the generator's draft."""
    patience: int
    """A sample stops after this many consecutive steps without movement of its loss."""
    min_delta: float
    """The loss has moved when it differs by at least this from its value at the last movement."""
    batch_size: int
    """Maximum number of samples in one forward pass; the others wait until one of them has finished."""
    keep: str
    """Step whose code is the result: best (lowest loss) | last | last_moved (the last at which the loss moved, as
    published; not always the best)."""
    views: str = "first"
    """The view on which the age is estimated: first (the picture itself) | turn (another view at each step, in an order
    drawn from the output's seed: a picture that fools the age judge in a single view gains nothing)."""
    channels: str = "all"
    """Convolution channels to optimise: all | perturbed (mask above 0) | age (significant at `channels.fdr`)."""

    def __post_init__(self) -> None:
        for key, least in (("max_steps", 0), ("draft_steps", 0), ("patience", 1), ("batch_size", 1), ("min_delta", 0)):
            if not getattr(self, key) >= least:
                raise AdfdError(f"refine.{key} must be at least {least}, got {getattr(self, key)}")
        if self.draft_steps and self.draft_steps >= self.max_steps:
            raise AdfdError(f"refine.draft_steps must be below max_steps={self.max_steps}, got {self.draft_steps}")
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
    """The state of one output during a method, and its result.

    `row` is the row of its anchor, `output` its index among the outputs of one photo. `s` `[C]` is the code of the kept
    step; `losses` holds that step's loss, unweighted terms and age. `steps` counts gradient steps or moves along the
    age path, `evaluations` the renderings that were judged; `failure` is empty unless the output failed.
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
    """Whether the output is accepted, or has reached the age that was searched for; None where neither was checked."""
    searched: int = 0
    """How many of the evaluations diversify spent on realignment; the others are the refinement's."""
    candidates: list[dict[str, Any]] = field(default_factory=list)
    """A record of each candidate of this output: its readings, and the reason where it was rejected."""

    reference: float = math.inf
    """The loss at its last movement."""
    plateau: int = 0
    """Consecutive steps without movement."""
    previous_age: float = math.nan
    """The estimated age at the step before, in years; NaN at the first step."""


OnStep = Callable[[Sample, int, dict[str, float]], None]
"""Called at every step with the sample, the step's number, starting at 0, and its losses and age, by name."""


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

    A sample finishes when its loss plateaus, after `max_steps`, or when its loss is not finite, with `failure` set. The
    next waiting sample then takes its place in the batch. The batch is halved where it does not fit into the device's
    memory; AdfdError is raised where one sample does not fit. Each sample has its own optimiser state, so that its
    result does not depend on the other samples of the batch.

    toRGB channels keep the anchor's values. `free` `[C]`, bool, restricts the optimisation to some of the convolution
    channels; the others keep their start values. With `max_steps` 0 the samples are yielded unchanged and unevaluated.

    The first `draft_steps` steps compare the draft's pictures of sample and anchor; a sample whose loss plateaus there
    goes on to the generator's. Raises AdfdError where they are asked for and the networks have no draft.
    """
    if refinement.max_steps == 0:
        yield from samples
        return
    if refinement.draft_steps:
        drafting = networks.drafting()
        at = (anchors.sources, anchors.target_age, anchors.w_plus, refinement.batch_size)
        first = replace(refinement, max_steps=refinement.draft_steps, draft_steps=0, keep="last")
        for sample in _optimise(drafting, render_anchors(drafting, *at), samples, loss, first, on_step, free):
            sample.reference, sample.plateau, sample.losses = math.inf, 0, {}
        yield from (sample for sample in samples if sample.failure)
        samples = [sample for sample in samples if not sample.failure]
    yield from _optimise(networks, anchors, samples, loss, refinement, on_step, free)


def _optimise(
    networks: Networks,
    anchors: Anchors,
    samples: list[Sample],
    loss: LossWeights,
    refinement: Refinement,
    on_step: OnStep,
    free: Tensor | None,
) -> Iterator[Sample]:
    """The loop of `refine`, on the draft as on the generator, from each sample's code and number of steps."""
    moving = networks.conv_mask if free is None else networks.conv_mask & free
    starts = [sample.s for sample in samples]
    codes = [sample.s.clone().requires_grad_() for sample in samples]
    adam = torch.optim.Adam(codes, lr=refinement.lr)
    running = list(range(len(samples)))
    active: list[int] = []
    filled: list[int] = []
    size = refinement.batch_size
    while running:
        if active != running[:size]:
            active = running[:size]
            filled = active + active[-1:] * (full_size(len(active), anchors.s.device) - len(active))
            rows = [samples[i].row for i in filled]
            constants, held = anchors.constants(rows), anchors.s[rows]
            if free is not None:
                held = torch.where(networks.conv_mask, torch.stack([starts[i] for i in filled]), held)
        started = time.perf_counter()
        s = torch.where(moving, torch.stack([codes[i] for i in filled]), held)
        previous_age = torch.tensor([samples[i].previous_age for i in filled], device=s.device)
        turns = refinement.views == "turn"
        views = [networks.views.turn(samples[i].seed, samples[i].steps) for i in filled] if turns else None
        adam.zero_grad(set_to_none=True)
        fits = False
        with suppress(OutOfMemory):
            losses = objective(networks, networks.synthesis_pooled(s), constants, loss, previous_age, views)
            readings = losses.readings()[: len(active)]
            if any(samples[i].steps < refinement.max_steps for i in active):
                losses.total[: len(active)].sum().backward()
            fits = True
        if not fits:  # outside the with block, since the error keeps the failed attempt's tensors alive
            size = halved(len(active))
            continue
        finished = []
        for i, code, reading in zip(active, s.detach()[: len(active)], readings, strict=True):
            on_step(samples[i], samples[i].steps, reading)
            if _advance(samples[i], code, reading, refinement):
                finished.append(i)
        if len(finished) < len(active):
            for i in finished:
                codes[i].grad = None  # Adam skips parameters without a gradient
            adam.step()
        elapsed = (time.perf_counter() - started) / len(active)
        for i in active:
            samples[i].seconds += elapsed
        for i in finished:
            running.remove(i)
            yield samples[i]


def _advance(sample: Sample, s: Tensor, losses: dict[str, float], refinement: Refinement) -> bool:
    """Update a sample with the losses of its current code `s`; return whether it has finished."""
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
