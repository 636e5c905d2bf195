"""Random latents that belong to an output, not to a run: the same alone, batched, sharded, resumed or reordered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """The outputs to make: M pairs of an anchor's row and an output's index, each with its own random latent."""

    rows: tuple[int, ...]
    outputs: tuple[int, ...]
    z: Tensor
    """`[M, 512]`, Gaussian."""

    def to(self, device: torch.device) -> Draws:
        """The same draws with their latents on a device."""
        return replace(self, z=self.z.to(device))


def draw(seed: int, names: Sequence[str], wanted: Sequence[tuple[int, int]], dim: int) -> Draws:
    """Latents for the wanted (row, output) pairs of photos with these names.

    Drawn on the CPU with one generator per (seed, name, output), so that every device and every batch gets the same.
    """
    z = [_normal(output_seed(seed, names[row], output), dim) for row, output in wanted]
    rows, outputs = zip(*wanted, strict=True)
    return Draws(rows, outputs, torch.stack(z))


def output_seed(seed: int, name: str, output: int) -> int:
    """Seed of one output of one photo: the run's seed, the photo's name and the output's index, hashed to 63 bits."""
    digest = hashlib.sha256(f"{seed}/{name}/{output}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _normal(seed: int, dim: int) -> Tensor:
    return torch.randn(dim, generator=torch.Generator().manual_seed(seed))
