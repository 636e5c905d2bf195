"""DEX as the judge of age: VGG-16 with one class for each year of 0..100.

Layer names are those of the published weight file. (Rothe, Timofte, Van Gool, "Deep expectation of real and apparent
age from a single image without facial landmarks", IJCV 2018.)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VGG16 = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of each stage; max pooling after each halves the size."""
N_AGES = 101
SIZE = 224


class Dex(nn.Module):
    """Age in years `[N]`, the expectation of a softmax over 0..100, of images `[N, 3, H, W]` in [-1, 1]."""

    ages: Tensor

    def __init__(self, stages: tuple[tuple[int, int], ...] = VGG16, hidden: int = 4096) -> None:
        super().__init__()
        self.stages: list[list[str]] = []
        c_in = 3
        for i, (width, depth) in enumerate(stages, start=1):
            names = [f"conv{i}_{j}" for j in range(1, depth + 1)]
            for name in names:
                self.add_module(name, nn.Conv2d(c_in, width, 3, padding=1))
                c_in = width
            self.stages.append(names)
        self.fc6 = nn.Linear(c_in * (SIZE // 2 ** len(stages)) ** 2, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8_101 = nn.Linear(hidden, N_AGES)
        self.register_buffer("ages", torch.arange(N_AGES, dtype=torch.float, device="cpu"), persistent=False)
        self.range = (0.0, N_AGES - 1.0)

    def logits(self, img: Tensor) -> Tensor:
        """`[N, 101]`. The resize is not antialiased, as published: estimated ages depend on the images' size."""
        x = F.interpolate(img.float(), (SIZE, SIZE), mode="bilinear", align_corners=False)
        for names in self.stages:
            for name in names:
                x = F.relu(self.get_submodule(name)(x))
            x = F.max_pool2d(x, 2)
        x = F.relu(self.fc6(x.flatten(1)))
        return self.fc8_101(F.relu(self.fc7(x)))

    def forward(self, img: Tensor) -> Tensor:
        with torch.autocast(img.device.type, enabled=False):
            return self.logits(img).softmax(dim=1) @ self.ages
