"""IR-SE50: the improved residual network with squeeze-and-excitation, the backbone of ArcFace and the pSp encoder.

Module names are those of the published weight files. (Deng et al., "ArcFace", CVPR 2019; the PyTorch form is
InsightFace_Pytorch's.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
"""Channels and units of each stage; the first unit of each halves the size."""

Stages = tuple[tuple[int, int], ...]


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: scale each channel by a factor computed from the channels' spatial means."""

    def __init__(self, width: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, max(1, width // reduction), 1, bias=False)
        self.fc2 = nn.Conv2d(max(1, width // reduction), width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))))


class Unit(nn.Module):
    """Residual unit; the shortcut is a 1x1 convolution only where the channel count changes."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(c_in),
            nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
            nn.PReLU(c_out),
            nn.Conv2d(c_out, c_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(c_out),
            SqueezeExcite(c_out),
        )
        self.shortcut_layer = (
            nn.MaxPool2d(1, stride)
            if c_in == c_out
            else nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


def stem(c_in: int, width: int) -> nn.Sequential:
    """`input_layer` of the files: `[N, c_in, H, W]` to `[N, width, H, W]`."""
    return nn.Sequential(nn.Conv2d(c_in, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width))


def body(stages: Stages = STAGES) -> nn.Sequential:
    """`body` of the files: the units of all stages in sequence."""
    units: list[nn.Module] = []
    c_in = stages[0][0]
    for width, depth in stages:
        for i in range(depth):
            units.append(Unit(c_in, width, stride=2 if i == 0 else 1))
            c_in = width
    return nn.Sequential(*units)
