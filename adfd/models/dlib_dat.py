"""Reader for dlib's serialised networks (`.dat`): parameter tensors among the text of layer descriptions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adfd.basics.errors import AdfdError

Shape = tuple[int, int, int, int]


def dlib_integer(value: int) -> bytes:
    """dlib's encoding of a non-negative integer: its length in bytes, then its bytes, little-endian."""
    body = value.to_bytes(max(1, (value.bit_length() + 7) // 8), "little")
    return bytes([len(body)]) + body


def read_tensors(path: Path, shapes: list[Shape]) -> list[Tensor]:
    """Read the tensors of these shapes (samples, k, rows, columns), which the file must contain in this order.

    A tensor is stored as the format's version (2) and its shape in dlib integers, then float32 values. Raises AdfdError
    where the file cannot be read or has no such sequence.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AdfdError(f"{path} cannot be read: {error.strerror}") from error
    at, tensors = 0, []
    for i, shape in enumerate(shapes):
        header = b"".join(map(dlib_integer, (2, *shape)))
        found, size = data.find(header, at), 4 * math.prod(shape)
        at = found + len(header) + size
        if found < 0 or at > len(data):
            raise AdfdError(f"{path}: tensor {i} of shape {shape} is not where the network's layout has it")
        tensors.append(torch.from_numpy(np.frombuffer(data[at - size : at], "<f4").astype(np.float32)).reshape(shape))
    return tensors
