"""`down` of the paper: average pooling to the size at which images are judged and compared."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

POOLED_SIZE = 256


def pool(img: Tensor, size: int = POOLED_SIZE) -> Tensor:
    """Average-pool images `[N, 3, H, H]` to `[N, 3, size, size]`; images of `size` px or less are returned unchanged.

    Adaptive pooling where H is not a multiple of `size`.
    """
    if img.shape[-1] <= size:
        return img
    if img.shape[-1] % size == 0:
        return F.avg_pool2d(img, img.shape[-1] // size)
    return F.adaptive_avg_pool2d(img, size)
