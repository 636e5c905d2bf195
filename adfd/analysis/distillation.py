"""Distillation: teach a draft the pictures of its generator.

Codes are drawn as an inversion meets them: random faces, and random offsets along the principal axes of W, each with
further offsets of every row. The loss compares pictures by their pixels, fine and coarse, and as the stack's own judges
see them: by perceptual features and embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adfd.basics.errors import AdfdError
from adfd.basics.files import Row
from adfd.basics.pooling import POOLED_SIZE
from adfd.models.draft import Draft, draw
from adfd.models.networks import Networks
from adfd.models.principal_axes import principal_axes

SHARED, ROWS = (0.1, 1.1), (0.0, 0.7)
"""Ranges of the offsets' deviations, in standard deviations of W: shared by all rows, and of each row.

Inverted photos lie 0.4 to 0.6 from the mean face in both (16 photos)."""
MOST_STEPS = 1_000_000  # of a distillation, so that no two seeds share codes
STYLES = 512  # codes from which the scales of the draft's inputs are taken
WARM_UP = 50
COARSE = 8
"""Side in px of the squares whose means are compared besides the pixels."""
LONGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class Distillation:
    """Settings of the distillation. Raises AdfdError for impossible ones."""

    steps: int
    batch_size: int
    """Codes per step."""
    lr: float
    """Adam's learning rate; it falls to 0 along a cosine."""
    widths: list[int]
    """Channels of the draft's convolutions."""
    rank: int
    """Numbers through which the styles of the replaced layers enter."""
    held_out: int
    """Codes on which the draft is measured."""
    measured_every: int
    """Steps between measurements."""

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 1, "rank": 1, "held_out": 1, "measured_every": 1}
        for key, value in least.items():
            if getattr(self, key) < value:
                raise AdfdError(f"distillation.{key} must be at least {value}, got {getattr(self, key)}")
        if self.steps > MOST_STEPS:
            raise AdfdError(f"distillation.steps must be at most {MOST_STEPS}, got {self.steps}")
        if not self.widths or any(width < 1 for width in self.widths):
            raise AdfdError(f"distillation.widths must be numbers of channels above 0, got {self.widths}")
        if not 0 < self.lr < math.inf:
            raise AdfdError(f"distillation.lr must be a finite number greater than 0, got {self.lr}")

    def __call__(self, networks: Networks, seed: int, on_step: Callable[[Draft, Row], None]) -> Draft:
        """A draft of the networks' generator, taught by `steps` steps of Adam.

        `on_step(draft, row)` is called after every step; `row` holds what was measured then, or nothing. Raises
        AdfdError where the loss is not a number.
        """
        codes = Codes(networks, seed)
        draft = self.untaught(networks, seed, codes)
        adam = torch.optim.Adam(draft.parameters(), lr=self.lr, betas=(0.9, 0.99))
        held_out = codes(-1, self.held_out).split(self.batch_size)
        for step in range(self.steps):
            warm = min(1, (step + 1) / WARM_UP)
            adam.param_groups[0]["lr"] = self.lr * warm * (1 + math.cos(math.pi * step / self.steps)) / 2
            adam.zero_grad(set_to_none=True)
            difference(networks, draft, codes(step, self.batch_size)).backward()
            torch.nn.utils.clip_grad_norm_(draft.parameters(), LONGEST_GRADIENT)
            adam.step()
            row: Row = {}
            if (step + 1) % self.measured_every == 0 or step + 1 == self.steps:
                row = {"step": step + 1, **fidelity(networks, draft, held_out)}
                if not math.isfinite(row["psnr"]):
                    raise AdfdError(f"the draft's loss is not a number at step {step + 1}; lower distillation.lr")
            on_step(draft, row)
        return draft.requires_grad_(False)

    def untaught(self, networks: Networks, seed: int, codes: Codes) -> Draft:
        """The draft at the start, with random weights."""
        size = min(POOLED_SIZE, networks.generator.resolution)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            draft = Draft(networks.name, networks.space, size, self.widths, self.rank)
        draft = draft.to(networks.device).to(memory_format=torch.channels_last)
        s = codes(-2, STYLES)
        with torch.no_grad():
            draft.standardise(networks.generator.features(s[: self.batch_size], draft.trunk), s)
        return draft


class Codes:
    """Random codes to learn from: `codes(step, n)` gives `[n, C]`, the same for the same seed and step."""

    def __init__(self, networks: Networks, seed: int) -> None:
        self.networks, self.seed = networks, seed
        with torch.no_grad():
            self.axes = principal_axes(networks)

    @torch.no_grad()
    def __call__(self, step: int, n: int) -> Tensor:
        networks, w_avg = self.networks, self.networks.generator.w_avg
        stream = torch.Generator().manual_seed(self.seed * MOST_STEPS + step + 2)  # torch heeds 32 bits
        near, far = torch.rand(2, n, 1, 1, generator=stream).to(w_avg)
        natural = torch.rand(n, 1, 1, generator=stream).to(w_avg) < 0.5
        shared = torch.randn(n, 1, len(w_avg), generator=stream).to(w_avg)
        rows = torch.randn(n, networks.space.n_w_rows, len(w_avg), generator=stream).to(w_avg)
        face = networks.mapping(torch.randn(n, networks.generator.w_dim, generator=stream).to(w_avg))[:, None] - w_avg
        shared = torch.where(natural, face, shared @ self.axes) * (SHARED[0] + (SHARED[1] - SHARED[0]) * near)
        rows = rows @ self.axes * (ROWS[0] + (ROWS[1] - ROWS[0]) * far)
        return networks.affine(w_avg + shared + rows)


def difference(networks: Networks, draft: Draft, s: Tensor) -> Tensor:
    """The loss of a draft at codes `[n, C]`, a scalar with a gradient."""
    with torch.no_grad():
        true = networks.synthesis_pooled(s, draft.size)
        embedding, maps = networks.recognise(true)
    drawn = draw(draft, networks.generator, s)
    error = drawn - true
    pixels = error.abs().mean() + 4 * error.square().mean() + 2 * F.avg_pool2d(error, COARSE).abs().mean()
    drawn_embedding, drawn_maps = networks.recognise(drawn)
    perceived = networks.perceptual.distance(drawn_maps, maps).mean()
    return pixels + 0.5 * perceived + 0.5 * (1 - networks.id_similarity(drawn_embedding, embedding)).mean()


@torch.no_grad()
def fidelity(networks: Networks, draft: Draft, parts: tuple[Tensor, ...]) -> Row:
    """How like the draft's pictures of codes, `[n, C]` in each part, are to the generator's; means over all codes.

    `psnr` in dB of pictures whose values span 2, `id_similarity`, and `perceptual`, the stack's distance.
    """
    found = []
    for s in parts:
        true = networks.synthesis_pooled(s, draft.size)
        drawn = draw(draft, networks.generator, s)
        psnr = 10 * torch.log10(4 / (drawn - true).square().mean(dim=(1, 2, 3)))
        (embedding, maps), (true_embedding, true_maps) = networks.recognise(drawn), networks.recognise(true)
        alike = networks.id_similarity(embedding, true_embedding)
        apart = networks.perceptual.distance(maps, true_maps)
        found.append(torch.stack([psnr, alike, apart]))
    values = torch.cat(found, dim=1).mean(dim=1).tolist()
    return dict(zip(("psnr", "id_similarity", "perceptual"), values, strict=True))
