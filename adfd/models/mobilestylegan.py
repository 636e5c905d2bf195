"""MobileStyleGAN: a generator distilled from StyleGAN2, with separable convolutions and Haar wavelets, fast on a CPU.

Belousov, "MobileStyleGAN: A Lightweight Convolutional Neural Network for High-Fidelity Image Synthesis", 2021.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adfd.basics.pooling import POOLED_SIZE, pool
from adfd.models import openvino_ir, weights
from adfd.models.frozen_conv import conv2d
from adfd.stylespace import layout

N_W_AVG_SAMPLES = 4096


class ModulatedConv(nn.Module):
    """3x3 convolution of features scaled by a style, with fixed noise, bias and leaky ReLU 0.2.

    Separable (depthwise, then pointwise) unless `dense`. Demodulation is a constant folded into the kernels, so that a
    style's magnitude has an effect, unlike in StyleGAN2.
    """

    def __init__(self, c_in: int, c_out: int, size: int, dense: bool = False) -> None:
        super().__init__()
        if dense:
            self.depthwise = None
            self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3))
        else:
            self.depthwise = nn.Parameter(torch.randn(c_in, 1, 3, 3))
            self.weight = nn.Parameter(torch.randn(c_out, c_in, 1, 1))
        self.noise = nn.Parameter(torch.zeros(1, 1, size, size))
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.gain = 1 / math.sqrt(c_in * 9)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = modulate(x, style * self.gain)
        if self.depthwise is None:
            x = conv2d(x, self.weight, self.bias, padding=1)
        else:
            x = conv2d(x, self.depthwise, padding=1, groups=x.shape[1])
            x = conv2d(x, self.weight, self.bias)
        return F.leaky_relu_(x.add_(self.noise), 0.2)


class Block(nn.Module):
    """Inverse Haar upsampling of styled features, then two modulated convolutions."""

    def __init__(self, c_in: int, c_out: int, size: int) -> None:
        super().__init__()
        self.conv1 = ModulatedConv(c_in // 4, c_out, size)
        self.conv2 = ModulatedConv(c_out, c_out, size)

    def forward(self, x: Tensor, up: Tensor, style1: Tensor, style2: Tensor) -> Tensor:
        x = inverse_haar(modulate(x, up))
        return self.conv2(self.conv1(x, style1), style2)


class MobileStyleGAN(nn.Module):
    """Generator with `mapping(z) -> w`, `affine(w or w_plus) -> s`, `synthesis(s) -> img`.

    `channels` are the feature channels after the first convolution and after each block; the picture has
    `4 * 2 ** len(channels)` pixels a side.
    """

    w_avg: Tensor

    def __init__(
        self,
        name: str = "mobilestylegan-ffhq-1024",
        channels: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64),
        w_dim: int = 512,
        n_mapping_layers: int = 8,
    ) -> None:
        super().__init__()
        self.name = name
        self.w_dim = w_dim
        self.space = layout.mobilestylegan(channels)
        self.resolution = 4 * 2 ** len(channels)
        self.mapping_layers = nn.ModuleList(nn.Linear(w_dim, w_dim) for _ in range(n_mapping_layers))
        self.affine_weight = nn.Parameter(torch.randn(self.space.n_channels, w_dim) / math.sqrt(w_dim))
        self.affine_bias = nn.Parameter(torch.ones(self.space.n_channels))
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.first = ModulatedConv(channels[0], channels[0], 4, dense=True)
        self.blocks = nn.ModuleList(Block(c_in, c_out, 8 * 2**i) for i, (c_in, c_out) in enumerate(pairwise(channels)))
        self.to_img = nn.Conv2d(channels[-1], 12, 1)
        self.register_buffer("w_avg", torch.zeros(w_dim), persistent=False)

    def mapping(self, z: Tensor) -> Tensor:
        """Gaussian latents `[N, 512]` to `w` `[N, 512]`, without truncation."""
        with torch.autocast(z.device.type, enabled=False):  # codes change in small steps and need full precision
            w = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
            for layer in self.mapping_layers:
                w = F.leaky_relu(layer(w), 0.2) * math.sqrt(2)
            return w

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Truncation: `w_avg + psi (w - w_avg)`, shape of `w`."""
        return self.w_avg.lerp(w, psi)

    def affine(self, w: Tensor) -> Tensor:
        """`w` `[N, 512]` or `w_plus` `[N, L, 512]` to a StyleSpace code `s` `[N, C]`."""
        with torch.autocast(w.device.type, enabled=False):
            if w.ndim == 2:
                return F.linear(w, self.affine_weight, self.affine_bias)
            weights, biases = self.space.split(self.affine_weight.T), self.space.split(self.affine_bias)
            layers = zip(self.space.layers, weights, biases, strict=True)
            return self.space.join([w[:, layer.w_row] @ weight + bias for layer, weight, bias in layers])

    def synthesis(self, s: Tensor) -> Tensor:
        """StyleSpace codes `[N, C]` to images `[N, 3, H, W]` in [-1, 1], with a small overshoot."""
        x, style = self._features(s)
        return inverse_haar(self.to_img(modulate(x, style)))

    def synthesis_pooled(self, s: Tensor, size: int = POOLED_SIZE) -> Tensor:
        """`pool(synthesis(s), size)`, `[N, 3, size, size]`, up to rounding, without the full-size picture.

        The mean over each 2x2 pixels of an inverse Haar transform is half of its low-pass part, and the preceding 1x1
        convolution commutes with the mean. The features are therefore pooled first, and only three of the twelve
        channels computed. Pictures whose side is not a multiple of twice `size` are synthesised in full.
        """
        half = self.resolution // 2
        if half % size:
            return pool(self.synthesis(s), size)
        x, style = self._features(s)
        bias = self.to_img.bias
        assert bias is not None
        return conv2d(modulate(pool(x, size), style / 2), self.to_img.weight[:3], bias[:3] / 2)

    def features(self, s: Tensor, size: int) -> Tensor:
        """Features `[N, c, size, size]` of codes `[N, C]` after the block of that size, from 4 to half the picture."""
        first, *rest, _ = self.space.split(s)
        x = self.first(self.constant.expand(len(s), -1, -1, -1), first)
        for i, block in enumerate(self.blocks):
            if x.shape[-1] == size:
                break
            x = block(x, *rest[3 * i : 3 * i + 3])
        return x

    def _features(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """For codes `[N, C]`: the last block's features `[N, c, H / 2, W / 2]`, and the scaled style of `to_img`."""
        x = self.features(s, self.resolution // 2)
        return x, self.space.split(s)[-1] / math.sqrt(x.shape[1])

    @torch.no_grad()
    def estimate_w_avg(self) -> None:
        """Set `w_avg` to the mean of `w` over a fixed set of latents."""
        z = np.random.RandomState(0).randn(N_W_AVG_SAMPLES, self.w_dim)
        self.w_avg.copy_(self.mapping(torch.from_numpy(z).float()).mean(dim=0))


def modulate(x: Tensor, style: Tensor) -> Tensor:
    """Features `[N, c, h, w]` scaled by a style `[N, c]`."""
    return x * style[:, :, None, None]


def inverse_haar(x: Tensor) -> Tensor:
    """Inverse Haar transform `[N, c, h, w]` to `[N, c / 4, 2h, 2w]`.

    The first quarter of the channels is the low-pass part; it is followed by the vertical, horizontal and diagonal
    details of each of its channels.
    """
    x = x.permute(0, 2, 3, 1)  # the interleaving below keeps channels last
    n, height, width, c = x.shape
    low, details = x.tensor_split([c // 4], dim=3)
    v, h, d = details.unflatten(3, (c // 4, 3)).unbind(4)
    top, bottom, left, right = low + v, low - v, h + d, h - d
    rows = [torch.stack([top + left, top - left], dim=3), torch.stack([bottom + right, bottom - right], dim=3)]
    quad = torch.stack(rows, dim=2) * 0.5  # [N, h, 2, w, 2, c / 4]
    return quad.reshape(n, 2 * height, 2 * width, c // 4).permute(0, 3, 1, 2)


def load_mobilestylegan() -> MobileStyleGAN:
    """The FFHQ 1024 px generator from the random-face package. Raises AdfdError where its files are missing."""
    generator = MobileStyleGAN()
    state = openvino_ir.read_mapping(weights.MAPPING_XML.locate(), weights.MAPPING_BIN.locate())
    state |= openvino_ir.read_synthesis(weights.SYNTHESIS_XML.locate(), weights.SYNTHESIS_BIN.locate())
    generator.load_state_dict(state)
    generator.estimate_w_avg()
    return generator
