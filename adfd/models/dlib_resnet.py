"""dlib's residual networks in PyTorch, and readers of their weights from dlib and ONNX files.

Each convolution and the per-channel affine layer after it are folded into one convolution when the file is read.
(King, "High Quality Face Recognition with Deep Metric Learning", dlib, 2017; the age and gender networks: Cydral.)
"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from adfd.models import dlib_dat


class Unit(nn.Module):
    """Residual unit: two 3x3 convolutions; a `down` unit halves the size, with an average-pooled shortcut."""

    def __init__(self, c_in: int, c_out: int, down: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=2 if down else 1, padding=0 if down else 1)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        y = convolve(self.conv2, F.relu(convolve(self.conv1, x)))
        x = F.avg_pool2d(x, 2) if self.down else x
        c, h, w = (max(a, b) for a, b in zip(x.shape[1:], y.shape[1:], strict=True))
        return F.relu(pad(x, c, h, w) + pad(y, c, h, w))


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 3x3 convolution that gives bit-identical results and gradients at every call.

    oneDNN sums the gradient of a convolution with one output pixel in an order that depends on thread timing (torch
    2.15, batch size 1), and a refinement amplifies the difference to years of estimated age. One output pixel is
    therefore computed as a matrix product.
    """
    padding, stride = conv.padding[0], conv.stride[0]
    assert isinstance(padding, int)
    if any(size + 2 * padding - 3 >= stride for size in x.shape[2:]):
        return conv(x)
    patch = F.pad(x, (padding,) * 4)[..., :3, :3]
    return F.linear(patch.flatten(1), conv.weight.flatten(1), conv.bias)[:, :, None, None]


def pad(x: Tensor, c: int, h: int, w: int) -> Tensor:
    """Zero-pad `[N, ...]` after the last channel, row and column to `[N, c, h, w]`."""
    return F.pad(x, (0, w - x.shape[3], 0, h - x.shape[2], 0, c - x.shape[1])) if x.shape[1:] != (c, h, w) else x


class DlibResNet(nn.Module):
    """Stem (7x7 convolution, max pooling) and stages of residual units; `depths[i]` units of `widths[i]` channels.

    Every stage but the first starts with a down unit.
    """

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 7, stride=2)
        self.stages = nn.ModuleList()
        c_in = widths[0]
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            units = [Unit(c_in if j == 0 else width, width, down=i > 0 and j == 0) for j in range(depth)]
            self.stages.append(nn.Sequential(*units))
            c_in = width

    def features(self, x: Tensor) -> list[Tensor]:
        """Feature maps after each stage, `[N, widths[i], h_i, w_i]`."""
        x = F.max_pool2d(F.relu(self.stem(x)), 3, stride=2)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Pooled features of the last stage, `[N, widths[-1]]`."""
        return self.features(x)[-1].mean(dim=(2, 3))

    def convolutions(self) -> list[nn.Conv2d]:
        """All convolutions, input to output."""
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]


class GenderNet(nn.Module):
    """Two pairs of 3x3 convolutions and two linear layers on a 32 px face; logits (female, male)."""

    def __init__(self, widths: tuple[int, int] = (32, 64), hidden: int = 16, size: int = 32) -> None:
        super().__init__()
        a, b = widths
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in ((3, a), (a, a), (a, b), (b, b)))
        self.hidden = nn.Linear(b * (size // 4) ** 2, hidden)
        self.head = nn.Linear(hidden, 2)

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.convs):
            x = F.relu(conv(x))
            x = F.avg_pool2d(x, 2) if i % 2 else x
        return self.head(F.relu(self.hidden(x.flatten(1))))


def _set_convolution(conv: nn.Conv2d, weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor) -> None:
    conv.weight.data.copy_(weight.reshape(conv.weight.shape) * gamma.view(-1, 1, 1, 1))
    conv.bias.data.copy_(bias * gamma + beta)  # type: ignore[union-attr]


def _set_linear(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    linear.weight.data.copy_(weight)
    linear.bias.data.copy_(bias)


def load_dat(net: DlibResNet, head: nn.Linear, path: Path) -> None:
    """Fill a network and its linear head (without bias) from a `.dat` file. Raises AdfdError if it does not fit."""
    convolutions = net.convolutions()
    shapes: list[dlib_dat.Shape] = []
    for conv in convolutions:
        shapes += [(conv.weight.numel() + conv.out_channels, 1, 1, 1), (2 * conv.out_channels, 1, 1, 1)]
    *tensors, matrix = dlib_dat.read_tensors(path, [*shapes, (head.in_features, head.out_features, 1, 1)])
    for conv, parameters, affine in zip(convolutions, tensors[::2], tensors[1::2], strict=True):
        weight, bias = parameters.flatten().split([conv.weight.numel(), conv.out_channels])
        _set_convolution(conv, weight, bias, *affine.flatten().chunk(2))
    head.weight.data.copy_(matrix[:, :, 0, 0].T)


def load_onnx(path: Path, convolutions: list[nn.Conv2d], linears: list[nn.Linear]) -> None:
    """Fill convolutions and linear layers, in order, from an ONNX export of a dlib network.

    The scalar multiplications before linear layers (dlib's multiply layers) are folded into the weights. Raises
    ValueError where the number of layers differs, RuntimeError where a shape does.
    """
    graph = onnx.load(path).graph
    tensors = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    parameters = [[tensors[name] for name in node.input if name in tensors] for node in graph.node]
    nodes = [(node.op_type, given) for node, given in zip(graph.node, parameters, strict=True)]
    found_convolutions: list[tuple[Tensor, ...]] = []
    found_linears: list[tuple[Tensor, Tensor]] = []
    scalar = torch.ones(())
    for (kind, given), (_, scale), (_, offset) in zip(
        nodes, [*nodes[1:], *nodes[:1]], [*nodes[2:], *nodes[:2]], strict=True
    ):
        if kind == "Conv":
            found_convolutions.append((*given, scale[0].flatten(), offset[0].flatten()))
        elif kind == "Mul" and given[0].numel() == 1:
            scalar = given[0]
        elif kind == "Gemm":
            found_linears.append((given[0].T * scalar, given[1]))
            scalar = torch.ones(())
    for conv, (weight, bias, gamma, beta) in zip(convolutions, found_convolutions, strict=True):
        _set_convolution(conv, weight, bias, gamma, beta)
    for linear, (weight, bias) in zip(linears, found_linears, strict=True):
        _set_linear(linear, weight, bias)
