"""VGG-16's convolutions with ImageNet weights from the cache folder (`models/fetch.py`): the features of KID.

(Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015.)
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adfd.basics.pooling import pool
from adfd.models import checkpoints, flax, tensorflow

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the 3x3 convolutions of each stage; 2x2 max pooling separates the stages."""
SIZE = 128
"""Side in px to which pictures are pooled; 256 px would cost four times as much."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's colours in 0..1, with which the network's input is normalised."""


class VggFeatures(nn.Module):
    """Spatial mean `[N, 512]` of the last stage's features, for images `[N, 3, H, W]` in [-1, 1]."""

    name = "VGG-16"
    n_features = WIDTHS[-1][-1]

    def __init__(self) -> None:
        super().__init__()
        widths = [3, *(width for stage in WIDTHS for width in stage)]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))

    def stages(self, img: Tensor) -> list[Tensor]:
        """Features after each stage, `[N, C, h, w]`, for images of any size."""
        mean, std = (img.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        x, made, convolutions = ((img + 1) / 2 - mean) / std, list[Tensor](), iter(self.convolutions)
        for stage in WIDTHS:
            x = F.max_pool2d(x, 2) if made else x
            for _ in stage:
                x = next(convolutions)(x).relu()
            made.append(x)
        return made

    def forward(self, img: Tensor) -> Tensor:
        with torch.autocast(img.device.type, enabled=False):
            return self.stages(pool(img.float(), SIZE))[-1].mean(dim=(2, 3))


def load_vgg16() -> VggFeatures:
    """Load the network from the cache folder. Raises AdfdError where its weights are missing or damaged."""
    from adfd.models import fetch  # also a command, `python -m adfd.models.fetch`: runpy warns if imported before

    path = fetch.VGG16.locate()
    arrays = flax.read(path)
    network = VggFeatures()
    state = {}
    for i in range(len(network.convolutions)):
        state[f"convolutions.{i}.weight"] = tensorflow.kernel(arrays[f"VGG16_0/Conv_{i}/kernel"])
        state[f"convolutions.{i}.bias"] = arrays[f"VGG16_0/Conv_{i}/bias"]
    checkpoints.fill(network, state, path)
    return network.requires_grad_(False).eval()
