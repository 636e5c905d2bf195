"""Random latents, one stream per output: the same whether a run is batched, sharded, resumed or reordered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """The M outputs to make: for each the row of its anchor, its output index and its random latent."""

    rows: tuple[int, ...]
    outputs: tuple[int, ...]
    z: Tensor
    """`[M, 512]`, Gaussian."""
    seeds: tuple[int, ...] = ()
    """Seed of each output's `stream` of latents; empty where no method draws a second latent."""
    pair_seeds: tuple[int, ...] = ()
    """Seed of the even output of each output's pair (0 and 1, 2 and 3, ...), whose stream an antithetic pair shares."""

    def to(self, device: torch.device) -> Draws:
        """The same draws with their latents on a device."""
        return replace(self, z=self.z.to(device))


def draw(seed: int, names: Sequence[str], wanted: Sequence[tuple[int, int]], dim: int) -> Draws:
    """Draw a latent of `dim` numbers for each of the `wanted` (row, output) pairs; `names[row]` is the photo's name.

    Drawn on the CPU with one generator per (seed, name, output): the latents do not depend on device or batch.
    """
    seeds = tuple(output_seed(seed, names[row], output) for row, output in wanted)
    pair_seeds = tuple(output_seed(seed, names[row], output - output % 2) for row, output in wanted)
    z = torch.stack([next(stream(own, dim)) for own in seeds])
    rows, outputs = zip(*wanted, strict=True)
    return Draws(rows, outputs, z, seeds, pair_seeds)


def output_seed(seed: int, name: str, output: int) -> int:
    """Seed of one output of one photo: the run's seed, the photo's name and the output's index, hashed to 63 bits."""
    digest = hashlib.sha256(f"{seed}/{name}/{output}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, dim: int) -> Iterator[Tensor]:
    """Endless stream of latents `[dim]` of one output; the first is the one in `Draws`."""
    rng = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(dim, generator=rng)
