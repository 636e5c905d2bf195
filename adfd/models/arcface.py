"""ArcFace's IR-SE50 as the judge of identity. (Deng et al., "ArcFace: Additive Angular Margin Loss", CVPR 2019.)"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adfd.basics.pooling import POOLED_SIZE, pool
from adfd.models import ir_se50

CROP = (32, 220, 35, 223)
"""x0, x1, y0, y1 of the face in an aligned 256 px picture, ends excluded."""
FACE_SIZE = 112


class ArcFace(nn.Module):
    """Identity embeddings `[N, 512]`, unit vectors, of aligned images `[N, 3, H, W]` in [-1, 1]."""

    def __init__(self, stages: ir_se50.Stages = ir_se50.STAGES, n_dimensions: int = 512) -> None:
        super().__init__()
        width = stages[-1][0]
        self.input_layer = ir_se50.stem(3, stages[0][0])
        self.body = ir_se50.body(stages)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(width * (FACE_SIZE // 2 ** len(stages)) ** 2, n_dimensions),
            nn.BatchNorm1d(n_dimensions),
        )

    def forward(self, img: Tensor) -> Tensor:
        with torch.autocast(img.device.type, enabled=False):
            img = pool(img.float(), POOLED_SIZE)
            left, right, top, bottom = (round(edge * img.shape[-1] / POOLED_SIZE) for edge in CROP)
            face = F.adaptive_avg_pool2d(img[..., top:bottom, left:right], FACE_SIZE)
            return F.normalize(self.output_layer(self.body(self.input_layer(face))), dim=1)

    @staticmethod
    def similarity(a: Tensor, b: Tensor) -> Tensor:
        """Cosine similarity `[...]` of embeddings `[..., D]`: 1 for equal ones, about 0 for unrelated persons."""
        return (a * b).sum(dim=-1)
