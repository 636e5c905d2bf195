"""The paper's second method: walk a latent age path, beyond its ends, until the estimator reads the target age."""

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
    """The latent age path of a person: codes of the age transformer at `n_samples` ages, `interval` years apart."""

    n_samples: int
    interval: float

    def __post_init__(self) -> None:
        if self.n_samples < 2:
            raise AdfdError(f"path.n_samples must be at least 2, got {self.n_samples}")
        if not self.interval > 0:
            raise AdfdError(f"path.interval must be positive (years), got {self.interval}")


@dataclass(frozen=True)
class Search:
    """How the position on the path is sought, and when it is found."""

    kind: str
    """bracket (enclose the target age, then interpolate) | published (fixed steps, halved when the direction turns)."""
    tolerance: float
    """Years between estimated and target age at which the search ends."""
    max_moves: int
    """Moves along the path at most."""
    reach: float
    """Years by which `bracket` leaves the target age at most, either way; further out faces fall apart."""

    def __post_init__(self) -> None:
        if self.kind not in SEARCHES:
            raise AdfdError(f"search.kind must be one of {', '.join(SEARCHES)}, got {self.kind}")
        for key in ("tolerance", "max_moves", "reach"):
            if not getattr(self, key) > 0:
                raise AdfdError(f"search.{key} must be positive, got {getattr(self, key)}")


Moves = Generator[float, float, None]
"""A search as a coroutine: it yields positions alpha on the path and is sent the age read there."""


def published(target: float, search: Search) -> Moves:
    """The paper's search: steps of one year towards the target age, halved each time the direction changes."""
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
    """Step out by the missing years until the target age is enclosed, then interpolate (Illinois' false position)."""
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
    held = 0  # the end of the bracket that the last move kept
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
    """The code on each person's age path at which the estimated age meets the target age.

    All searches move together, `batch_size` faces at a time. A sample holds the position nearest to the target age;
    `converged` tells whether that is within the tolerance. `losses` has the position `alpha`, in years, and the age,
    which is read on the pooled picture, or for `age_image` "full", as published, at full resolution.
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
    """Take in the age read at a position; return the next position, or None when the search is over."""
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
    """Anchors moved along their age paths to where they read the target age, as near as the search comes.

    For age transformers that miss the target age: what is refined is then held to the age that was asked for.
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
    """`w_plus` of every person at target_age, target_age + interval, ...: `[n_samples, N, L, 512]`."""
    ages = [anchors.target_age + i * path.interval for i in range(path.n_samples)]
    return torch.stack([networks.transform(anchors.sources, age) for age in ages])


def path_codes(networks: Networks, anchors: Anchors, path: Path) -> Tensor:
    """The same as StyleSpace codes: `[n_samples, N, C]`."""
    latents = path_latents(networks, anchors, path)
    return row_by_row(networks.affine, latents.flatten(0, 1)).unflatten(0, latents.shape[:2])


def walk(codes: Tensor, start: float, path: Path, alpha: float) -> Tensor:
    """path(alpha): piecewise linear through codes `[n_samples, ...]`, extrapolated linearly beyond the ends."""
    position = (alpha - start) / path.interval
    segment = min(max(math.floor(position), 0), path.n_samples - 2)
    return codes[segment] + (position - segment) * (codes[segment + 1] - codes[segment])
