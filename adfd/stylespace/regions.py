"""Regions of the face on the aligned template: a coarse map, precise enough to name "hair" or "mouth"."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from adfd.basics.pooling import POOLED_SIZE

REGIONS = ("hair", "forehead", "eyes", "nose", "mouth", "jaw", "background")
"""The R regions; they partition the picture. Neck and clothes belong to the background."""


@cache
def region_masks(size: int = POOLED_SIZE) -> Tensor:
    """Masks of the regions on a picture of `size` px: `[R, size, size]`, bool; each pixel is True in one mask.

    Based on the mean landmarks of FFHQ-aligned faces: at 256 px eyes at (96, 122) and (159, 122), nose at (127, 168),
    mouth around (128, 196), chin around (128, 240).
    """
    scale = POOLED_SIZE / size
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) * scale] * 2, indexing="ij")

    def ellipse(cx: float, cy: float, rx: float, ry: float) -> Tensor:
        return ((x - cx) / rx).square() + ((y - cy) / ry).square() < 1

    face = ellipse(128, 158, 66, 86)
    head = ellipse(128, 125, 108, 128) & (y < 190)
    eyes = face & (y >= 100) & (y < 140)
    nose = face & (y >= 140) & (y < 178) & ((x - 128).abs() < 24)
    mouth = face & (y >= 178) & (y < 216) & ((x - 128).abs() < 36)
    forehead = face & (y < 100)
    jaw = face & ~(eyes | nose | mouth | forehead)
    hair = head & ~face
    return torch.stack([hair, forehead, eyes, nose, mouth, jaw, ~(face | hair)])


def region_means(values: Tensor) -> Tensor:
    """Mean of maps `[..., size, size]` over each region: `[..., R]`."""
    masks = region_masks(values.shape[-1]).to(values)
    return torch.einsum("...yx,ryx->...r", values, masks) / masks.sum(dim=(1, 2)).clamp_min(1)


def region_shares(difference: Tensor) -> Tensor:
    """Share of each region in the squared `difference` of pictures `[..., 3, size, size]`: `[..., R]`; NaN if all 0."""
    energy = region_means(difference.square().mean(dim=-3)) * region_areas(difference.shape[-1]).to(difference)
    return energy / energy.sum(dim=-1, keepdim=True)


def region_areas(size: int = POOLED_SIZE) -> Tensor:
    """Share of each region in the picture: `[R]`."""
    return region_masks(size).float().mean(dim=(1, 2))
