"""Parts of TensorFlow.js networks in PyTorch: weight files, SAME padding, and cropAndResize."""

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
"""Top, left, bottom, right, as fractions of the picture."""


def read_weights(entries: Sequence[dict[str, Any]], data: bytes) -> dict[str, Tensor]:
    """Arrays by name, as float32, from the entries of a manifest and `data`, which contains them in the same order.

    Raises AdfdError where the entries are not a manifest's, or the length of `data` differs from the manifest's.
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
    """Add to `weights` the array that begins at byte `start` of the data; returns the start of the next array."""
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
    """Convert a kernel `[h, w, c_in, c_out]` to PyTorch's layout `[c_out, c_in, h, w]`."""
    return array.permute(3, 2, 0, 1).contiguous()


def depthwise_kernel(array: Tensor) -> Tensor:
    """Convert a depthwise kernel `[h, w, c, 1]` to PyTorch's layout `[c, 1, h, w]`."""
    return array.permute(2, 3, 0, 1).contiguous()


def same(x: Tensor, size: int, stride: int, value: float = 0.0) -> Tensor:
    """SAME padding of `[N, C, H, W]` with `value`, for a kernel of `size`: the output has ceil(H / stride) rows.

    Of an odd number of padding rows or columns, the extra one goes to the bottom or right.
    """
    edges: list[int] = []
    for length in (x.shape[3], x.shape[2]):
        total = max((-(-length // stride) - 1) * stride + size - length, 0)
        edges += [total // 2, total - total // 2]
    return F.pad(x, edges, value=value)


def cut(img: Tensor, box: Box, size: int) -> Tensor:
    """Crop a box from images `[N, 3, H, W]` in [-1, 1]: `[N, 3, size, size]` in 0..255.

    Bilinear with aligned corners, as TensorFlow's cropAndResize. The picture is pooled to 256 px first, so that
    readings do not depend on its resolution.
    """
    img = (pool(img.float(), 256).clamp(-1, 1) + 1) * 127.5
    top, left, bottom, right = (2 * edge - 1 for edge in box)
    y = torch.linspace(top, bottom, size, device=img.device)
    x = torch.linspace(left, right, size, device=img.device)
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
    return F.grid_sample(img, grid.expand(len(img), -1, -1, -1), mode="bilinear", align_corners=True)
