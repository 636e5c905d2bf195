"""Realign: move a code along the person's age path until its estimated age is the anchor's, without gradients."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from adfd.basics.batching import row_by_row
from adfd.basics.errors import AdfdError
from adfd.methods.anchors import Anchors
from adfd.methods.guided import Moves, Path, Search, bracket, walk
from adfd.methods.refine import Sample
from adfd.models.networks import Networks


@dataclass(frozen=True)
class Realignment:
    """Settings of the search for the anchor's age. Raises AdfdError for impossible ones."""

    max_moves: int
    """Maximum number of moves along the path after the first reading; 0 leaves codes unchanged."""
    tolerance: float
    """The search ends when the estimated ages of code and anchor differ by less than this, in years."""
    reach: float
    """Maximum distance from the start along the path, in years, in either direction."""
    n_samples: int
    """Number of the age transformer's codes around the target age; beyond them the path is extrapolated linearly."""
    interval: float
    """Years between neighbouring codes."""
    after_steps: bool
    """Whether refined codes are realigned once more, since the refinement's steps shift the age."""

    def __post_init__(self) -> None:
        for key, least in (("max_moves", 0), ("n_samples", 2)):
            if getattr(self, key) < least:
                raise AdfdError(f"realign.{key} must be at least {least}, got {getattr(self, key)}")
        for key in ("tolerance", "reach", "interval"):
            if not getattr(self, key) > 0:
                raise AdfdError(f"realign.{key} must be positive (years), got {getattr(self, key)}")


@dataclass
class Candidate:
    """A realigned code `s` `[C]` that may become an output, with its pooled picture `img` `[3, 256, 256]`.

    `age` is its estimated age and `spread` the standard deviation over the views, in years; `evaluations` counts the
    renderings and `seconds` the time that the search took.
    """

    row: int
    output: int
    s: Tensor
    img: Tensor
    age: float
    spread: float
    evaluations: int
    seconds: float


@dataclass(frozen=True)
class Paths:
    """The age path of each anchor's person: codes `[n_samples, N, C]`; the first ones are at the ages `first` `[N]`."""

    codes: Tensor
    first: Tensor
    settings: Path

    def shift(self, row: int, start: float, years: float) -> Tensor:
        """The change `[C]` of a code when it is moved along the path from the age `start` by `years`."""
        codes, first = self.codes[:, row], float(self.first[row])
        return walk(codes, first, self.settings, start + years) - walk(codes, first, self.settings, start)


@torch.no_grad()
def paths_around(networks: Networks, anchors: Anchors, realignment: Realignment) -> Paths:
    """Paths through the age transformer's codes at ages around the target ages, of which none is below 0.

    Raises AdfdError where the networks have no age transformer.
    """
    n, interval = realignment.n_samples, realignment.interval
    first = (anchors.target_age - interval * (n // 2)).clamp_min(0)
    latents = torch.stack([networks.transform(anchors.sources, first + i * interval) for i in range(n)])
    codes = row_by_row(networks.affine, latents.flatten(0, 1)).unflatten(0, latents.shape[:2])
    return Paths(codes, first, Path(n, interval))


@torch.no_grad()
def realign(
    networks: Networks,
    anchors: Anchors,
    samples: list[Sample],
    realignment: Realignment,
    paths: Paths,
    batch_size: int,
    age_image: str = "pooled",
) -> list[Candidate]:
    """Move each sample's code along its age path to its anchor's estimated age, as close as the search gets.

    One candidate for each sample, in the same order; the samples are not changed. All searches run in parallel,
    `batch_size` pictures at a time. toRGB channels are not changed. `age_image` is as for `Networks.render_read`.
    """
    search = Search("bracket", realignment.tolerance, max(realignment.max_moves, 1), realignment.reach)
    goals = [float(anchors.age[sample.row]) for sample in samples]
    moves = [bracket(goal, search) for goal in goals]
    positions = {i: next(move) for i, move in enumerate(moves)}
    found: dict[int, Candidate] = {}
    while positions:
        active = list(positions)[:batch_size]
        started = time.perf_counter()
        s = torch.stack([_moved(networks, anchors, samples[i], paths, positions[i] - goals[i]) for i in active])
        rendered = networks.render_read(s, batch_size, age_image)
        elapsed = (time.perf_counter() - started) / len(active)
        readings = zip(rendered.age.tolist(), rendered.spread.tolist(), strict=True)
        for i, code, img, (age, spread) in zip(active, s, rendered.img, readings, strict=True):
            known = found.get(i)
            made = Candidate(samples[i].row, samples[i].output, code, img, age, spread, 1, elapsed)
            if known is not None:
                nearer = abs(age - goals[i]) < abs(known.age - goals[i])
                made = made if nearer else known
                made.evaluations, made.seconds = known.evaluations + 1, known.seconds + elapsed
            found[i] = made
            position = _next(moves[i], age, goals[i], made.evaluations, realignment)
            if position is None:
                del positions[i]
            else:
                positions[i] = position
    return [found[i] for i in range(len(samples))]


def realigned(
    networks: Networks,
    anchors: Anchors,
    samples: list[Sample],
    realignment: Realignment | None,
    batch_size: int,
    age_image: str = "pooled",
) -> Iterator[Sample]:
    """Realign finished samples in place and yield them, for methods without a refinement.

    `reached` tells whether the age differs from the anchor's by less than the tolerance, or by less than 1 year if the
    tolerance is smaller. With `realignment` None or `max_moves` 0 the samples are not changed.
    """
    if realignment is None or not realignment.max_moves:
        yield from samples
        return
    paths = paths_around(networks, anchors, realignment)
    for sample in samples:
        (found,) = realign(networks, anchors, [sample], realignment, paths, batch_size, age_image)
        sample.s, sample.evaluations, sample.seconds = found.s, found.evaluations, found.seconds
        sample.reached = abs(found.age - float(anchors.age[sample.row])) < max(realignment.tolerance, 1.0)
        yield sample


def _moved(networks: Networks, anchors: Anchors, sample: Sample, paths: Paths, years: float) -> Tensor:
    if years == 0:
        return sample.s
    return sample.s + networks.conv_mask * paths.shift(sample.row, float(anchors.target_age[sample.row]), years)


def _next(move: Moves, age: float, goal: float, evaluations: int, realignment: Realignment) -> float | None:
    if not abs(age - goal) >= realignment.tolerance or evaluations > realignment.max_moves:
        return None
    try:
        return move.send(age)
    except StopIteration:
        return None
