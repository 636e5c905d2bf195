"""A generator whose channel 3 is age and whose channel 5 is identity, and whose other channels only paint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adfd.models.networks import Networks
from adfd.stylespace.layout import StyleLayer, StyleSpace

AGE, IDENTITY, N_CHANNELS, SIZE = 3, 5, 16, 32


class PlantedGenerator(nn.Module):
    """Channel c paints the c-th pair of rows of the picture; the mouth is channel 11's alone."""

    name, resolution, w_dim = "planted", SIZE, N_CHANNELS
    space = StyleSpace((StyleLayer("first", 10, 8, 0), StyleLayer("second", 6, 32, 1)))

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("w_avg", torch.zeros(N_CHANNELS))

    def mapping(self, z: Tensor) -> Tensor:
        return z

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        return psi * w

    def affine(self, w: Tensor) -> Tensor:
        return w if w.ndim == 2 else torch.cat([w[:, 0, :10], w[:, 1, 10:]], dim=1)

    def synthesis(self, s: Tensor) -> Tensor:
        rows = (0.1 * s).repeat_interleave(SIZE // N_CHANNELS, dim=1)  # [N, 32]
        return rows[:, None, :, None].expand(-1, 3, -1, SIZE)


def stripe(img: Tensor, channel: int) -> Tensor:
    """What a channel painted: `[N]`."""
    return 10 * img[:, 0, channel * SIZE // N_CHANNELS, 0]


class PlantedAge(nn.Module):
    def forward(self, img: Tensor) -> Tensor:
        return 40 + 10 * stripe(img, AGE)


class PlantedIdentity(nn.Module):
    def forward(self, img: Tensor) -> Tensor:
        return torch.stack([stripe(img, IDENTITY), torch.zeros(len(img), device=img.device)], dim=1)

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        return 1 - (a - b).square().sum(dim=-1) / 2


class PlantedPerceptual(nn.Module):
    name = "pixels"

    def features(self, img: Tensor) -> list[Tensor]:
        return [img]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        return (a[0] - b[0]).square().mean(dim=(1, 2, 3))


def planted() -> Networks:
    """The planted generator with judges that see age and identity where they were planted."""
    return Networks(PlantedGenerator(), PlantedAge(), PlantedIdentity(), nn.Identity(), PlantedPerceptual())
