"""Networks from TensorFlow.js: its files of weights, its SAME padding, and its cut of a box out of a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adfd.basics.errors import AdfdError
from adfd.basics.pooling import pool

Box = tuple[float, float, float, float]
"""Top, left, bottom, right, as shares of the picture."""


def read_weights(entries: Sequence[dict[str, Any]], data: bytes) -> dict[str, Tensor]:
    """Arrays by name, as float32, from a manifest's entries and the file that holds them in the manifest's order.

    Raises AdfdError where the file's length is not what the manifest says, or that is no manifest.
    """
    weights: dict[str, Tensor] = {}
    start = 0
    try:
        for entry in entries:
            start = _read_weight(entry, data, start, weights)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise AdfdError(f"the list of weights is not TensorFlow's ({type(error).__name__}: {error})") from error
    if start != len(data):
        raise AdfdError(f"file of weights holds {len(data)} bytes, its manifest {start}")
    return weights


def _read_weight(entry: dict[str, Any], data: bytes, start: int, weights: dict[str, Tensor]) -> int:
    """Take one array in, which begins at a byte of the data; where the next one does."""
    quantised = entry.get("quantization", {})
    kind, shape = np.dtype(quantised.get("dtype", entry["dtype"])), [int(n) for n in entry["shape"]]
    count = math.prod(shape)
    if kind.kind not in "biuf" or any(n < 0 for n in shape):
        raise ValueError(f"{shape} values of type {kind}")
    stop = start + count * kind.itemsize
    if stop > len(data):
        raise AdfdError(f"file of weights ends before {entry['name']}: {len(data)} bytes")
    values = np.frombuffer(data, kind, count, start).astype(np.float32)
    if "scale" in quantised:
        values = values * np.float32(quantised["scale"]) + np.float32(quantised["min"])
    weights[str(entry["name"])] = torch.from_numpy(values.reshape(shape).copy())
    return stop


def kernel(array: Tensor) -> Tensor:
    """A kernel `[h, w, c_in, c_out]` as PyTorch has it, `[c_out, c_in, h, w]`."""
    return array.permute(3, 2, 0, 1).contiguous()


def depthwise_kernel(array: Tensor) -> Tensor:
    """A depthwise kernel `[h, w, c, 1]` as PyTorch has it, `[c, 1, h, w]`."""
    return array.permute(2, 3, 0, 1).contiguous()


def same(x: Tensor, size: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad `[N, C, H, W]` for a kernel of `size` so that ceil(H / stride) rows come out; the odd one behind."""
    edges: list[int] = []
    for length in (x.shape[3], x.shape[2]):
        total = max((-(-length // stride) - 1) * stride + size - length, 0)
        edges += [total // 2, total - total // 2]
    return F.pad(x, edges, value=value)


def cut(img: Tensor, box: Box, size: int) -> Tensor:
    """A box out of images `[N, 3, H, W]` in [-1, 1], resized bilinearly with its corners aligned, in 0..255.

    The picture is pooled to 256 px first, so that every resolution is read alike. (TensorFlow's cropAndResize.)
    """
    img = (pool(img.float(), 256).clamp(-1, 1) + 1) * 127.5
    top, left, bottom, right = (2 * edge - 1 for edge in box)
    y = torch.linspace(top, bottom, size, device=img.device)
    x = torch.linspace(left, right, size, device=img.device)
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
    return F.grid_sample(img, grid.expand(len(img), -1, -1, -1), mode="bilinear", align_corners=True)
