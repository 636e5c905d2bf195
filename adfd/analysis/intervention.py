"""Intervention: move channels or layers by k standard deviations to either side, and measure the effects."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from scipy.stats import t as student_t
from torch import Tensor

from adfd.analysis.random_faces import check_psi, faces, known_channels
from adfd.analysis.shards import Arrays, OnUnit, Shards, parts
from adfd.basics.errors import AdfdError
from adfd.models.networks import Networks
from adfd.stylespace.regions import region_means
from adfd.stylespace.statistics import Channels

SELECTIONS = ("top", "layers", "all")
MOVES_PER_SHARD = 8


@dataclass(frozen=True)
class Intervention:
    """Settings of the intervention. Raises AdfdError for impossible ones."""

    select: str
    """top: the `n_channels` convolution channels of highest coef_age, and `n_controls` random others. layers: each
    layer along its channels' correlations with age. all: every channel."""
    channels: list[int]
    """Flat channels to move instead of those of `select`; empty to use `select`."""
    n_channels: int
    n_controls: int
    n_faces: int
    """Number of random faces."""
    k: float
    """Distance to either side, in standard deviations; a layer moves as far as a single channel does."""
    psi: float
    """Truncation of the random faces; 1 for none."""
    batch_size: int
    """Pictures rendered at once."""

    unit = "rendering"
    verb = "move"
    extends = True

    def __post_init__(self) -> None:
        if self.select not in SELECTIONS:
            raise AdfdError(f"analysis.select must be one of {', '.join(SELECTIONS)}, got {self.select}")
        for name, least in {"n_channels": 1, "n_controls": 0, "n_faces": 2, "batch_size": 1}.items():
            if getattr(self, name) < least:
                raise AdfdError(f"analysis.{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 < self.k < math.inf:
            raise AdfdError(f"analysis.k must be a positive number, got {self.k}")
        check_psi(self.psi)

    @property
    def key(self) -> dict[str, Any]:
        """Settings that the effect of a move depends on, besides networks, seed and the move."""
        return {"analysis": "intervention", "psi": self.psi, "k": self.k, "n_faces": self.n_faces}

    def n_units(self, networks: Networks) -> int:
        """Number of pictures to render."""
        return self.n_faces * (1 + 2 * len(self.selected(networks)))

    def rehearse(self, networks: Networks, seed: int) -> None:
        """Do one unit of the work, to measure its duration."""
        Unmoved(networks, faces(networks, 1, self.psi, seed), self.batch_size, lambda n: None)

    def selected(self, networks: Networks) -> list[int]:
        """Flat indices of the channels, or indices of the layers, to move.

        Raises AdfdError where a channel does not exist or the selection needs correlations that were not measured.
        """
        space, known = networks.space, networks.channels
        if self.channels:
            for c in self.channels:
                if not 0 <= c < space.n_channels:
                    raise AdfdError(f"analysis.channels must lie in 0..{space.n_channels - 1}, got {c}")
            return list(dict.fromkeys(self.channels))
        if self.select == "all":
            return list(range(space.n_channels))
        if known is None or known.coef_age is None or known.r_age is None:
            raise AdfdError(
                f"analysis.select={self.select} needs correlations, and {networks.name} has none; first: "
                "python -m adfd.analyze analysis=correlation, then name its file with model.channels=PATH"
            )
        if self.select == "layers":
            return list(range(len(space.layers)))
        order = torch.where(space.conv_mask, known.coef_age, -1.0).argsort(descending=True)
        order = order[space.conv_mask[order]]
        others = order[self.n_channels :]
        controls = others[torch.randperm(len(others), generator=torch.Generator().manual_seed(0))[: self.n_controls]]
        return [*order[: self.n_channels].tolist(), *sorted(controls.tolist())]

    def __call__(self, networks: Networks, seed: int, shards: Shards) -> Channels:
        """Measure the effects of the selected moves, and return the channel statistics with effects and p-values."""
        known = known_channels(networks, self.psi, seed)
        moves = self.moves(networks, known)
        unmoved = Unmoved(networks, faces(networks, self.n_faces, self.psi, seed), self.batch_size, shards.on_unit)
        done = [
            shards(name(part), 2 * len(part) * self.n_faces, partial(unmoved.effects, part, self.k))
            for part in (moves[rows.start : rows.stop] for rows in parts(len(moves), MOVES_PER_SHARD))
        ]
        effect = {key: torch.cat([part[key] for part in done]) for key in done[0]}  # [M, F] each
        selected = torch.tensor(self.selected(networks))

        def spread(values: Tensor, n: int) -> Tensor:
            return torch.full((n, *values.shape[1:]), math.nan).index_copy(0, selected, values.float())

        if self.select == "layers" and not self.channels:
            n = len(networks.space.layers)
            return replace(
                known,
                layer_slope_age=spread(effect["slope"].mean(dim=1), n),
                layer_id_change=spread(effect["id"].mean(dim=1), n),
                layer_perceptual_change=spread(effect["perceptual"].mean(dim=1), n),
                layer_region_change=spread(effect["regions"].mean(dim=1), n),
            )
        n = networks.space.n_channels
        return replace(
            known,
            n_faces=self.n_faces,
            k=self.k,
            slope_age=spread(effect["slope"].mean(dim=1), n),
            slope_age_sd=spread(effect["slope"].std(dim=1), n),
            p_slope=spread(p_values(effect["slope"], "two-sided"), n),
            id_change=spread(effect["id"].mean(dim=1), n),
            p_id_change=spread(p_values(effect["id"], "greater"), n),
            pixel_change=spread(effect["pixel"].mean(dim=1), n),
            perceptual_change=spread(effect["perceptual"].mean(dim=1), n),
            region_change=spread(effect["regions"].mean(dim=1), n),
        )

    def moves(self, networks: Networks, known: Channels) -> list[Move]:
        """The moves of the selected channels or layers."""
        assert known.s_std is not None
        selected = self.selected(networks)
        if self.select != "layers" or self.channels:
            return [Move(torch.tensor([c]), self.k * known.s_std[c : c + 1]) for c in selected]
        assert known.r_age is not None
        edges = networks.space.offsets
        moves = []
        for layer in selected:
            c = torch.arange(edges[layer], edges[layer + 1])
            direction = known.r_age[c] / known.r_age[c].norm().clamp_min(torch.finfo(torch.float32).tiny)
            moves.append(Move(c, self.k * direction * known.s_std[c]))
        return moves


@dataclass(frozen=True)
class Move:
    """Channels `c` `[n]` and the distance `by` `[n]` that each moves, in units of style."""

    c: Tensor
    by: Tensor

    def __call__(self, s: Tensor, sign: int) -> Tensor:
        """Codes `[F, C]` moved to the side `sign`, 1 or -1."""
        return s.index_add(1, self.c.to(s.device), (sign * self.by).to(s).expand(len(s), -1))


class Unmoved:
    """The unchanged faces `w` `[F, 512]` and their readings, with which those of moved faces are compared."""

    @torch.inference_mode()
    def __init__(self, networks: Networks, w: Tensor, batch_size: int, on_unit: OnUnit) -> None:
        self.networks, self.batch_size = networks, batch_size
        self.s = networks.affine(w)
        self.img = networks.render(self.s, batch_size)
        self.embedding, self.features = networks.recognise(self.img)
        on_unit(len(w))

    @torch.inference_mode()
    def effects(self, moves: list[Move], k: float, on_unit: OnUnit) -> Arrays:
        """Effects of M moves on F faces.

        `slope` `[M, F]`, years per sd; and changes, averaged over both sides: `id` (1 - similarity), `pixel` and
        `perceptual` `[M, F]`, `regions` `[M, F, R]`.
        """
        effects: list[Arrays] = []
        for move in moves:
            up, down = (self._side(move(self.s, sign), on_unit) for sign in (1, -1))
            effect = {key: (up[key] + down[key]) / 2 for key in up if key != "age"}
            effects.append({"slope": (up["age"] - down["age"]) / (2 * k), **effect})
        return {key: torch.stack([effect[key] for effect in effects]) for key in effects[0]}

    def _side(self, s: Tensor, on_unit: OnUnit) -> Arrays:
        networks, read = self.networks, []
        for rows in torch.arange(len(s)).split(self.batch_size):
            img = networks.synthesis_pooled(s[rows])
            difference = (img - self.img[rows]).abs().mean(dim=1)  # [n, 256, 256]
            embedding, maps = networks.recognise(img)
            read.append(
                {
                    "age": networks.age(img),
                    "id": 1 - networks.id_similarity(embedding, self.embedding[rows]),
                    "pixel": difference.mean(dim=(1, 2)),
                    "perceptual": networks.perceptual.distance(maps, [one[rows] for one in self.features]),
                    "regions": region_means(difference),
                }
            )
            on_unit(len(rows))
        return {key: torch.cat([part[key] for part in read]).cpu() for key in read[0]}


def name(moves: list[Move]) -> str:
    """A name for the shard of these moves: a hash of their channels and distances."""
    digest = hashlib.sha256()
    for move in moves:
        digest.update(move.c.numpy().tobytes() + move.by.numpy().tobytes())
    return f"moves-{digest.hexdigest()[:12]}"


def p_values(effect: Tensor, alternative: str) -> Tensor:
    """P-values `[M]` of t-tests over F faces that the mean of effects `[M, F]` is 0; two-sided, or "greater"."""
    n = effect.shape[1]
    t = (effect.mean(dim=1) / (effect.std(dim=1) / n**0.5)).nan_to_num(nan=0.0)  # no effect on any face: 0 / 0
    p = student_t.sf(t, n - 1) if alternative == "greater" else 2 * student_t.sf(t.abs(), n - 1)
    return torch.from_numpy(p).float()
