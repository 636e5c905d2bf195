"""StyleGAN2 in plain PyTorch operations, with a flat StyleSpace code as its input.

Module names are those of the PyTorch port of StyleGAN2 whose weight files SAM and most editing methods use. (Karras et
al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adfd.basics.errors import AdfdError
from adfd.models.frozen_conv import conv2d, conv_transpose2d
from adfd.stylespace import layout

GAIN = math.sqrt(2)
"""Gain of the leaky ReLU. A positive factor commutes with it, so that it is folded into the preceding parameters."""
MAPPING_LR = 0.01
NOISES = ("stored", "random", "none")


class PixelNorm(nn.Module):
    """Latents `[N, 512]` divided by their root mean square."""

    def forward(self, z: Tensor) -> Tensor:
        return z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)


class MappingLayer(nn.Linear):
    """Linear layer of the mapping network, with leaky ReLU 0.2."""

    def forward(self, w: Tensor) -> Tensor:
        return F.leaky_relu(super().forward(w), 0.2) * GAIN


class Kernel(nn.Module):
    """The low-pass filter `[4, 4]` of StyleGAN2's resampling."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        tap = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", torch.outer(tap, tap) / tap.sum() ** 2 * 4)

    def repeat(self, x: Tensor) -> Tensor:
        """The kernel repeated for each channel of `x`: `[c, 1, 4, 4]`."""
        return self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)


class Upsample(Kernel):
    """Upsample by 2: `[N, c, h, w]` to `[N, c, 2h, 2w]`."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.repeat(x), stride=2, padding=1, groups=x.shape[1])


class Blur(Kernel):
    """Low-pass filter after a transposed convolution; reduces height and width by one."""

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.repeat(x), padding=1, groups=x.shape[1])


class ModulatedConv(nn.Module):
    """Convolution whose input channels are scaled by a style; with `demodulate`, outputs are scaled to unit variance.

    Features `[N, c_in, h, w]` and style `[N, c_in]` to `[N, c_out, h, w]`, with `up` to twice the height and width.
    Scales features instead of weights, which is equivalent: `conv(x, w * s) = conv(x * s, w)`. All samples of a batch
    thus share the weights, and neither a grouped convolution nor a gradient of the weights is needed.
    """

    def __init__(self, c_in: int, c_out: int, size: int, w_dim: int, up: bool = False, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, size, size))
        self.modulation = nn.Linear(w_dim, c_in)
        self.blur = Blur() if up else None
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = x * style.to(x.dtype)[:, :, None, None]
        if self.blur is None:
            x = conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)
        else:
            x = self.blur(conv_transpose2d(x, self.weight.transpose(0, 1), stride=2))
        if self.demodulate:
            with torch.autocast(x.device.type, enabled=False):
                power = F.linear(style.float().square(), self.weight.square().sum(dim=(2, 3)))  # [N, c_out]
                scale = torch.rsqrt(power + 1e-8) * GAIN
            x = x * scale.to(x.dtype)[:, :, None, None]
        return x


class Noise(nn.Module):
    """Noise strength of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class Bias(nn.Module):
    """Bias of one layer, added before its leaky ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise `[1 or N, 1, h, w]`, bias and leaky ReLU 0.2."""

    def __init__(self, c_in: int, c_out: int, w_dim: int, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(c_in, c_out, 3, w_dim, up)
        self.noise = Noise()
        self.activate = Bias(c_out)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        x = self.conv(x, style)
        if noise is not None:
            x = x.add_((self.noise.weight * noise).to(x.dtype))
        return F.leaky_relu_(x.add_(self.activate.bias.to(x.dtype).view(-1, 1, 1)), 0.2)


class ToRgb(nn.Module):
    """Convert features to RGB and add the upsampled picture of half the size; in float32 even under autocast."""

    def __init__(self, c_in: int, w_dim: int, up: bool = True) -> None:
        super().__init__()
        self.conv = ModulatedConv(c_in, 3, 1, w_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.upsample = Upsample() if up else None

    def forward(self, x: Tensor, style: Tensor, img: Tensor | None = None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            rgb = self.conv(x.float(), style.float()) + self.bias
            return rgb if img is None or self.upsample is None else rgb + self.upsample(img)


class StyleGAN2(nn.Module):
    """Generator with `mapping(z) -> w`, `affine(w or w_plus) -> s`, `synthesis(s) -> img`.

    `channels` gives the feature channels at each resolution (default: config F). Parameters are a file's after `fold`,
    which multiplies in the constants of the equalised learning rate.
    """

    w_avg: Tensor

    def __init__(
        self,
        name: str = "stylegan2-ffhq-1024",
        resolution: int = 1024,
        channels: dict[int, int] | None = None,
        w_dim: int = 512,
        n_mapping_layers: int = 8,
    ) -> None:
        super().__init__()
        channels = channels or layout.STYLEGAN2_CHANNELS
        self.name = name
        self.resolution = resolution
        self.w_dim = w_dim
        self.space = layout.stylegan2(resolution, channels)
        sizes = [2**i for i in range(3, int(math.log2(resolution)) + 1)]
        self.style = nn.Sequential(PixelNorm(), *(MappingLayer(w_dim, w_dim) for _ in range(n_mapping_layers)))
        self.input = nn.ParameterDict({"input": torch.randn(1, channels[4], 4, 4)})
        self.conv1 = StyledConv(channels[4], channels[4], w_dim)
        self.to_rgb1 = ToRgb(channels[4], w_dim, up=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for size in sizes:
            self.convs.append(StyledConv(channels[size // 2], channels[size], w_dim, up=True))
            self.convs.append(StyledConv(channels[size], channels[size], w_dim))
            self.to_rgbs.append(ToRgb(channels[size], w_dim))
        self.noises = nn.Module()
        for i, size in enumerate([4, *(size for size in sizes for _ in range(2))]):
            self.noises.register_buffer(f"noise_{i}", torch.randn(1, 1, size, size))
        self.register_buffer("w_avg", torch.zeros(w_dim, device="cpu"), persistent=False)

    def mapping(self, z: Tensor) -> Tensor:
        """Gaussian latents `[N, 512]` to `w` `[N, 512]`, without truncation."""
        with torch.autocast(z.device.type, enabled=False):
            return self.style(z)

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Truncation: `w_avg + psi (w - w_avg)`, shape of `w`."""
        return self.w_avg.lerp(w, psi)

    def affine(self, w: Tensor) -> Tensor:
        """`w` `[N, 512]` or `w_plus` `[N, L, 512]` to a StyleSpace code `s` `[N, C]`."""
        w_plus = w if w.ndim == 3 else w[:, None].expand(-1, self.space.n_w_rows, -1)
        layers = zip(self.space.layers, self._modulations(), strict=True)
        with torch.autocast(w.device.type, enabled=False):  # codes change in small steps and need full precision
            return self.space.join([modulation(w_plus[:, layer.w_row]) for layer, modulation in layers])

    def synthesis(self, s: Tensor, noise: str = "stored", rng: torch.Generator | None = None) -> Tensor:
        """StyleSpace codes `[N, C]` to images `[N, 3, H, H]` in [-1, 1], with some overshoot.

        `noise` is "stored" (from the file, the same for all samples), "random" (drawn from `rng` for each sample) or
        "none". Raises AdfdError for any other value.
        """
        if noise not in NOISES:
            raise AdfdError(f"noise must be one of {', '.join(NOISES)}, got {noise}")
        img = None
        for x, to_rgb, style in self._blocks(s, noise, rng):
            img = to_rgb(x, style, img)
        assert img is not None
        return img

    def features(self, s: Tensor, size: int) -> Tensor:
        """Features `[N, c, size, size]` of codes `[N, C]` at one of the sizes from 4 to the picture's, stored noise."""
        return next(x for x, *_ in self._blocks(s, "stored", None) if x.shape[-1] == size)

    def _blocks(self, s: Tensor, noise: str, rng: torch.Generator | None) -> Iterator[tuple[Tensor, ToRgb, Tensor]]:
        """At each size from 4 up: features `[N, c, h, w]`, and the layer that converts them to RGB with its style."""
        styles = self.space.split(s)
        x = self.input["input"].expand(len(s), -1, -1, -1)
        x = self.conv1(x, styles[0], self._noise(0, x, noise, rng))
        yield x, self.to_rgb1, styles[1]
        for i, to_rgb in enumerate(self.to_rgbs):
            up, conv, rgb = styles[3 * i + 2 : 3 * i + 5]
            x = self.convs[2 * i](x, up, self._noise(2 * i + 1, x, noise, rng))
            x = self.convs[2 * i + 1](x, conv, self._noise(2 * i + 2, x, noise, rng))
            yield x, to_rgb, rgb  # type: ignore[misc]

    def _modulations(self) -> list[nn.Linear]:
        """The affine map of every style layer, in the order of `space`."""
        layers: list[Any] = [self.conv1, self.to_rgb1]
        for i, to_rgb in enumerate(self.to_rgbs):
            layers += [self.convs[2 * i], self.convs[2 * i + 1], to_rgb]
        return [layer.conv.modulation for layer in layers]

    def _noise(self, i: int, x: Tensor, noise: str, rng: torch.Generator | None) -> Tensor | None:
        if noise == "none":
            return None
        stored: Tensor = self.noises.get_buffer(f"noise_{i}")
        if noise == "stored":
            return stored
        drawn = torch.randn(len(x), *stored.shape[1:], generator=rng, device=rng.device if rng else x.device)
        return drawn.to(x.device)


def fold(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A file's parameters as new tensors, multiplied by the constants of the equalised learning rate and by GAIN.

    Mapping layers have a learning rate multiplier of 0.01. The leading axis of the port's convolutions, `[1, c_out,
    c_in, k, k]`, is removed. Entries that are not tensors are dropped.
    """

    def constant(key: str, value: Tensor) -> float:
        if key.startswith("style."):
            return MAPPING_LR / math.sqrt(value[0].numel()) if key.endswith("weight") else MAPPING_LR
        if key.endswith(("modulation.weight", "conv.weight")):
            return 1 / math.sqrt(value[0].numel())
        return GAIN if key.endswith(("activate.bias", "noise.weight")) else 1.0

    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor) and value.ndim}
    tensors = {key: value.squeeze(0) if value.ndim == 5 else value for key, value in tensors.items()}
    return {key: value.float() * constant(key, value) for key, value in tensors.items()}
