"""The pSp encoder, which maps pictures to `w_plus`, and SAM's age transformer, which consists of two such encoders.

Module names are those of the published weight files. (Richardson et al., "Encoding in Style", CVPR 2021; Alaluf,
Patashnik, Cohen-Or, "Only a Matter of Style: Age Transformation Using a Style-Based Regression Model", SIGGRAPH 2021.)
"""

from __future__ import annotations

import math
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adfd.basics.errors import AdfdError
from adfd.basics.pooling import pool
from adfd.models import ir_se50
from adfd.models.sources import Sources

ENCODER_SIZE = 256
MAX_AGE = 100
"""The age in years that the value 1 in the age plane stands for."""
STARTS = ("encoded", "average", "neither")
COARSE, MEDIUM = 3, 7
"""Rows of `w_plus` before COARSE come from the 16 px features, those before MEDIUM from 32 px, the rest from 64 px."""


class Head(nn.Module):
    """Computes one row of `w_plus` from feature maps of `size` px: convolutions down to 1 px, then a linear layer."""

    def __init__(self, width: int, size: int, w_dim: int) -> None:
        super().__init__()
        convs: list[nn.Module] = []
        for i in range(int(math.log2(size))):
            convs += [nn.Conv2d(width if i == 0 else w_dim, w_dim, 3, stride=2, padding=1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*convs)
        self.linear = nn.Linear(w_dim, w_dim)
        self.gain = 1 / math.sqrt(w_dim)

    def forward(self, maps: Tensor) -> Tensor:
        x = self.convs(maps).flatten(1)
        return F.linear(x * self.gain, self.linear.weight, self.linear.bias)


class PspEncoder(nn.Module):
    """Pictures `[N, c_in, 256, 256]` to offsets `[N, L, 512]` from the mean latent.

    `stages` are the channels and depths of the trunk, whose last three stages feed the heads.
    """

    def __init__(self, c_in: int, n_rows: int = 18, w_dim: int = 512, stages: ir_se50.Stages = ir_se50.STAGES) -> None:
        super().__init__()
        widths = [width for width, _ in stages]
        self.input_layer = ir_se50.stem(c_in, widths[0])
        self.body = ir_se50.body(stages)
        self.taps = [end - 1 for end in accumulate(depth for _, depth in stages)][-3:]  # 6, 20, 23
        sizes = [16] * COARSE + [32] * (MEDIUM - COARSE) + [64] * n_rows
        self.styles = nn.ModuleList(Head(widths[-1], size, w_dim) for size in sizes[:n_rows])
        self.latlayer1 = nn.Conv2d(widths[-2], widths[-1], 1)
        self.latlayer2 = nn.Conv2d(widths[-3], widths[-1], 1)

    def forward(self, img: Tensor) -> Tensor:
        x = self.input_layer(img)
        maps = []
        for i, unit in enumerate(self.body):
            x = unit(x)
            if i in self.taps:
                maps.append(x)
        c1, c2, c3 = maps  # 64, 32, 16 pixels a side
        p2 = _upsample(c3, c2) + self.latlayer1(c2)
        p1 = _upsample(p2, c1) + self.latlayer2(c1)
        pyramid = [c3] * COARSE + [p2] * (MEDIUM - COARSE) + [p1] * len(self.styles)
        return torch.stack([head(features) for head, features in zip(self.styles, pyramid, strict=False)], dim=1)


def _upsample(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps, like.shape[2:], mode="bilinear", align_corners=True)


class SamTransformer(nn.Module):
    """SAM: one encoder computes the picture's latent, a second one, whose input includes the target age, an offset.

    `start` is the latent to which the second encoder's offset is added: "encoded", the picture's latent (as SAM was
    trained); "average", the mean latent; or "neither", where the offset itself is the result.
    """

    latent_avg: Tensor

    def __init__(
        self,
        n_rows: int = 18,
        w_dim: int = 512,
        stages: ir_se50.Stages = ir_se50.STAGES,
        start: str = "encoded",
    ) -> None:
        super().__init__()
        if start not in STARTS:
            raise AdfdError(f"start must be one of {', '.join(STARTS)}, got {start}")
        self.encoder = PspEncoder(4, n_rows, w_dim, stages)
        self.pretrained_encoder = PspEncoder(3, n_rows, w_dim, stages)
        self.start = start
        self.register_buffer("latent_avg", torch.zeros(n_rows, w_dim))

    def encode(self, img: Tensor, target_age: Tensor | float) -> Tensor:
        """Encode pictures `[N, 3, H, H]` in [-1, 1] at target ages in years (`[N]` or one number).

        Returns `w_plus` `[N, L, 512]`. Pictures larger than 256 px are pooled to 256 px.
        """
        with torch.autocast(img.device.type, enabled=False):
            img = pool(img.float(), ENCODER_SIZE)
            age = torch.as_tensor(target_age, dtype=img.dtype, device=img.device) / MAX_AGE
            plane = age.reshape(-1, 1, 1, 1).expand(len(img), 1, *img.shape[2:])
            w_plus = self.encoder(torch.cat([img, plane], dim=1))  # [N, L, 512]
            if self.start == "neither":
                return w_plus
            w_plus = w_plus + self.latent_avg
            return w_plus + self.pretrained_encoder(img) if self.start == "encoded" else w_plus

    def forward(self, sources: Sources, target_age: Tensor) -> Tensor:
        """`w_plus` `[N, L, 512]` of the sources' pictures at the target ages `[N]`, in years."""
        return self.encode(sources.img, target_age)
