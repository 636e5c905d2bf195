"""The paper's second method: walk an extrapolated latent age path until the age estimator reads the target age."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adfd.basics.batching import row_by_row
from adfd.basics.errors import AdfdError
from adfd.basics.seeding import Draws
from adfd.methods.anchors import Anchors, render_anchors
from adfd.methods.refine import OnStep, Sample
from adfd.models.networks import Networks


@dataclass(frozen=True)
class Path:
    """The latent age path of a person: the age transformer's codes at `n_samples` ages, `interval` years apart.

    Linear between the codes and extrapolated beyond them. Raises AdfdError for impossible settings.
    """

    n_samples: int
    interval: float

    def __post_init__(self) -> None:
        if self.n_samples < 2:
            raise AdfdError(f"path.n_samples must be at least 2, got {self.n_samples}")
        if not self.interval > 0:
            raise AdfdError(f"path.interval must be positive (years), got {self.interval}")


@dataclass(frozen=True)
class Search:
    """The search for the position on the path, and its stopping rule. Raises AdfdError for impossible settings."""

    kind: str
    """bracket (enclose the target age, then interpolate) | published (1-year steps, halved at changes of direction)."""
    tolerance: float
    """The search ends when estimated and target age differ by less than this, in years."""
    max_moves: int
    """Maximum number of moves along the path after the first reading."""
    reach: float
    """Maximum distance of `bracket`'s positions from the target age, in years; farther away faces degenerate."""

    def __post_init__(self) -> None:
        if self.kind not in SEARCHES:
            raise AdfdError(f"search.kind must be one of {', '.join(SEARCHES)}, got {self.kind}")
        for key in ("tolerance", "max_moves", "reach"):
            if not getattr(self, key) > 0:
                raise AdfdError(f"search.{key} must be positive, got {getattr(self, key)}")


Moves = Generator[float, float, None]
"""A search as a coroutine: it yields positions alpha on the path, in years, and is sent the age estimated there."""


def published(target: float, search: Search) -> Moves:
    """The paper's search: steps of one year towards the target age, halved at each change of direction."""
    alpha, step, direction = target, 1.0, 0
    age = yield alpha
    while True:
        turn = 1 if age < target else -1
        if turn == -direction:
            step /= 2
        direction = turn
        alpha += direction * step
        age = yield alpha


def bracket(target: float, search: Search) -> Moves:
    """Enclose the target age between two positions, then interpolate (false position method, Illinois variant).

    The first step is as long as the age error; further steps are extrapolated from the last slope, or doubled.
    Positions stay within `search.reach` years of the target age; the search ends at that limit if it is not enclosed.
    """
    near, age = target, (yield target)
    error = age - target
    direction, step = (-1 if error > 0 else 1), max(abs(error), 1.0)
    while True:
        far = max(target - search.reach, min(target + search.reach, near + direction * step))
        if far == near:
            return
        far_error = (yield far) - target
        if far_error * error < 0:
            break
        slope = (far_error - error) * direction / abs(far - near)
        step = min(max(abs(far_error) / abs(slope), 1.0), 2 * step) if slope * error < 0 else 2 * step
        near, error = far, far_error
    held = 0  # which end of the bracket the last move kept: 1 near, -1 far, 0 neither
    while True:
        middle = (near * far_error - far * error) / (far_error - error)
        middle_error = (yield middle) - target
        if middle_error * far_error > 0:
            far, far_error = middle, middle_error
            error = error / 2 if held == 1 else error
            held = 1
        else:
            near, error = middle, middle_error
            far_error = far_error / 2 if held == -1 else far_error
            held = -1


SEARCHES = {"bracket": bracket, "published": published}


@torch.no_grad()
def guided(
    networks: Networks,
    anchors: Anchors,
    draws: Draws,
    *,
    path: Path,
    search: Search,
    batch_size: int,
    on_step: OnStep,
    age_image: str = "pooled",
) -> Iterator[Sample]:
    """Search each person's age path for the code whose estimated age is the target age.

    All searches run in parallel, `batch_size` faces at a time. A sample gets the code whose estimated age came closest
    to the target age; `converged` and `reached` tell whether the difference is below the tolerance. `losses` holds the
    position `alpha` of that code and its estimated `age`, both in years. The age is estimated on the pooled picture, or
    with `age_image` "full" at the generator's resolution, as published. An age that is not finite sets `failure` and
    ends that search. Raises AdfdError where the networks have no age transformer.
    """
    codes = path_codes(networks, anchors, path)  # [n_samples, N, C]
    targets = [float(anchors.target_age[row]) for row in draws.rows]
    samples = [Sample(row, output, anchors.s[row]) for row, output in zip(draws.rows, draws.outputs, strict=True)]
    moves = [SEARCHES[search.kind](target, search) for target in targets]
    alphas = {i: next(move) for i, move in enumerate(moves)}
    while alphas:
        active = list(alphas)[:batch_size]
        started = time.perf_counter()
        s = torch.stack([walk(codes[:, samples[i].row], targets[i], path, alphas[i]) for i in active])
        ages = networks.render_aged(s, batch_size, age_image)[1].tolist()
        elapsed = (time.perf_counter() - started) / len(active)
        for i, code, age in zip(active, s, ages, strict=True):
            samples[i].seconds += elapsed
            on_step(samples[i], samples[i].steps, {"age": age, "alpha": alphas[i]})
            alpha = _advance(samples[i], code, alphas[i], age, targets[i], search, moves[i])
            if alpha is None:
                del alphas[i]
                yield samples[i]
            else:
                alphas[i] = alpha


def _advance(
    sample: Sample, s: Tensor, alpha: float, age: float, target: float, search: Search, moves: Moves
) -> float | None:
    """Update the sample with the age estimated at a position; return the next position, or None at the search's end."""
    sample.evaluations += 1
    if not math.isfinite(age):
        sample.failure = f"the estimated age became {age} at position {alpha:.1f} of the age path"
        return None
    if abs(age - target) < abs(sample.losses.get("age", math.inf) - target):
        sample.s, sample.losses = s, {"age": age, "alpha": alpha}
    sample.converged = sample.reached = abs(age - target) < search.tolerance
    if sample.converged or sample.steps >= search.max_moves:
        return None
    sample.steps += 1
    try:
        return moves.send(age)
    except StopIteration:
        return None


@torch.no_grad()
def guided_anchors(
    networks: Networks, anchors: Anchors, path: Path, search: Search, batch_size: int, age_image: str = "pooled"
) -> Anchors:
    """Move anchors along their age paths until their estimated age is the target age, as close as the search gets.

    For age transformers that miss the target age: the paper's loss compares a candidate's age with the anchor's. Where
    a search fails the anchor stays as it is.
    """
    rows = tuple(range(len(anchors)))
    draws = Draws(rows, (0,) * len(rows), anchors.s.new_empty(len(rows), 0))
    latents = path_latents(networks, anchors, path)  # [n_samples, N, L, 512]
    w_plus = anchors.w_plus.clone()
    settings: dict[str, Any] = {"path": path, "search": search, "batch_size": batch_size, "age_image": age_image}
    found = guided(networks, anchors, draws, on_step=lambda *_: None, **settings)
    for sample in found:
        start = float(anchors.target_age[sample.row])
        if not sample.failure:
            w_plus[sample.row] = walk(latents[:, sample.row], start, path, sample.losses["alpha"])
    return render_anchors(networks, anchors.sources, anchors.target_age, w_plus, batch_size, age_image)


def path_latents(networks: Networks, anchors: Anchors, path: Path) -> Tensor:
    """`w_plus` of each person at the ages target_age, target_age + interval, ...: `[n_samples, N, L, 512]`."""
    ages = [anchors.target_age + i * path.interval for i in range(path.n_samples)]
    return torch.stack([networks.transform(anchors.sources, age) for age in ages])


def path_codes(networks: Networks, anchors: Anchors, path: Path) -> Tensor:
    """StyleSpace codes of `path_latents`: `[n_samples, N, C]`."""
    latents = path_latents(networks, anchors, path)
    return row_by_row(networks.affine, latents.flatten(0, 1)).unflatten(0, latents.shape[:2])


def walk(codes: Tensor, start: float, path: Path, alpha: float) -> Tensor:
    """The code `[...]` at position `alpha` of a path through codes `[n_samples, ...]`; the first one is at `start`.

    `alpha` and `start` are ages in years. Linear between neighbouring codes, extrapolated linearly beyond the ends.
    """
    position = (alpha - start) / path.interval
    segment = min(max(math.floor(position), 0), path.n_samples - 2)
    return codes[segment] + (position - segment) * (codes[segment + 1] - codes[segment])
