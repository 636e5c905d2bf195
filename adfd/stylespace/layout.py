"""StyleSpace: the layout of a generator's style channels, and the flat code used throughout the project.

A StyleSpace code is one tensor `s` `[N, C]`: the styles of all layers, in the order in which synthesis uses them.
(StyleSpace: Wu, Lischinski, Shechtman, "StyleSpace Analysis", CVPR 2021.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from torch import Tensor

# Channels of StyleGAN2 config F at each resolution (Karras et al. 2020, table of config F, channel multiplier 2).
STYLEGAN2_CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}


@dataclass(frozen=True)
class StyleLayer:
    """One style layer: `width` channels that modulate a convolution whose output has `resolution` pixels a side.

    `w_row` is the row of `w_plus` from which its styles are computed; `to_rgb` marks layers that convert features to
    RGB.
    """

    name: str
    width: int
    resolution: int
    w_row: int
    to_rgb: bool = False

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"style layer {self.name}: width must be at least 1, got {self.width}")


@dataclass(frozen=True)
class StyleSpace:
    """The layers of a generator in execution order, and the mapping between flat channel `c` and (layer, channel)."""

    layers: tuple[StyleLayer, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("a StyleSpace needs at least one layer")

    @cached_property
    def widths(self) -> tuple[int, ...]:
        return tuple(layer.width for layer in self.layers)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Flat index of each layer's first channel, and the total at the end."""
        return tuple(accumulate(self.widths, initial=0))

    @property
    def n_channels(self) -> int:
        return self.offsets[-1]

    @cached_property
    def n_w_rows(self) -> int:
        """L: the rows of a `w_plus` `[N, L, 512]`."""
        return 1 + max(layer.w_row for layer in self.layers)

    @cached_property
    def to_rgb_mask(self) -> Tensor:
        """True on the channels of toRGB layers; `[C]`, bool, on the CPU."""
        return torch.cat([torch.full((layer.width,), layer.to_rgb) for layer in self.layers])

    @cached_property
    def conv_mask(self) -> Tensor:
        """True on the channels of all other layers, which the methods change; `[C]`, bool, on the CPU."""
        return ~self.to_rgb_mask

    def split(self, s: Tensor) -> tuple[Tensor, ...]:
        """Cut a flat code `[..., C]` into one view per layer, `[..., width]` each. Raises ValueError for another C."""
        if s.shape[-1] != self.n_channels:
            raise ValueError(f"expected a StyleSpace code of {self.n_channels} channels, got {s.shape[-1]}")
        return s.split(self.widths, dim=-1)

    def join(self, styles: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
        """Inverse of `split`: styles `[..., width]` to a flat code `[..., C]`. Raises ValueError for other widths."""
        widths = tuple(style.shape[-1] for style in styles)
        if widths != self.widths:
            raise ValueError(f"expected styles of widths {self.widths}, got {widths}")
        return torch.cat(list(styles), dim=-1)

    def locate(self, c: int) -> tuple[int, int]:
        """(layer, channel within it) of flat channel `c`. Raises IndexError outside 0..C-1."""
        if not 0 <= c < self.n_channels:
            raise IndexError(f"channel {c} is outside 0..{self.n_channels - 1}")
        layer = next(i for i, end in enumerate(self.offsets[1:]) if c < end)
        return layer, c - self.offsets[layer]

    def flat(self, layer: int, channel: int) -> int:
        """Flat index of a (layer, channel). Raises IndexError where there is none."""
        if not (0 <= layer < len(self.layers) and 0 <= channel < self.widths[layer]):
            raise IndexError(f"there is no channel {channel} in layer {layer}")
        return self.offsets[layer] + channel

    def w_rows_from(self, resolution: int) -> list[int]:
        """Rows of `w_plus` used by layers of `resolution` pixels or more: the fine layers of style mixing."""
        return sorted({layer.w_row for layer in self.layers if layer.resolution >= resolution})


def stylegan2(resolution: int = 1024, channels: dict[int, int] | None = None) -> StyleSpace:
    """StyleSpace of a StyleGAN2 generator: 26 layers and 9 088 channels at 1024 px.

    A toRGB layer shares its row of `w_plus` with the next block's first convolution; in StyleSpace they are separate.
    `channels` gives the feature channels at each resolution (default: config F). Raises ValueError unless `resolution`
    is a power of two of at least 8.
    """
    if resolution < 8 or resolution & (resolution - 1):
        raise ValueError(f"resolution must be a power of two of at least 8, got {resolution}")
    channels = channels or STYLEGAN2_CHANNELS
    layers = [StyleLayer("conv1", channels[4], 4, 0), StyleLayer("to_rgb1", channels[4], 4, 1, to_rgb=True)]
    w_row, size, c_in = 1, 8, channels[4]
    while size <= resolution:
        c_out = channels[size]
        layers += [
            StyleLayer(f"up{size}", c_in, size, w_row),
            StyleLayer(f"conv{size}", c_out, size, w_row + 1),
            StyleLayer(f"to_rgb{size}", c_out, size, w_row + 2, to_rgb=True),
        ]
        w_row, size, c_in = w_row + 2, size * 2, c_out
    return StyleSpace(tuple(layers))


def mobilestylegan(channels: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64)) -> StyleSpace:
    """StyleSpace of a MobileStyleGAN generator: 23 layers and 6 752 channels for the default, the FFHQ 1024 px one.

    `channels` are the feature channels after the first convolution and after each block. Every style layer has its
    own row of `w_plus`. (Belousov, "MobileStyleGAN", 2021, arXiv 2104.04767.)
    """
    layers = [StyleLayer("conv1", channels[0], 4, 0)]
    for block, (c_in, c_out) in enumerate(pairwise(channels)):
        size = 8 * 2**block
        for name, width in (("up", c_in), ("conv1", c_in // 4), ("conv2", c_out)):
            layers.append(StyleLayer(f"block{block}.{name}", width, size, len(layers)))
    # The image layer works on half-size features, which a Haar transform then turns into the full-size picture.
    layers.append(StyleLayer("to_img", channels[-1], 4 * 2 ** len(channels), len(layers), to_rgb=True))
    return StyleSpace(tuple(layers))
