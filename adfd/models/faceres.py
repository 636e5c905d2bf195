"""faceres: an independent judge of age, gender and identity, used in no loss.

A MobileNet trained for face identity, with heads for age and gender, from package @vladmandic/human (Savchenko,
"Efficient facial representations for age, gender and identity recognition in organizing photo albums using multi-output
ConvNet", PeerJ Computer Science 2019). Nothing is optimised against it: forward computes no gradient.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adfd.models import fetch, tensorflow

BOX: tensorflow.Box = (0.28, 0.2, 0.9, 0.8)
WIDTHS = (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
HALVING = (2, 4, 6, 12)
"""Numbers, from 1, of the depthwise convolutions with stride 2."""


class FaceresReading(NamedTuple):
    """Readings of faceres on N faces."""

    age: Tensor
    """`[N]`, in years, uncalibrated."""
    male: Tensor
    """`[N]`, probability."""
    descriptor: Tensor
    """`[N, 1024]`, identity, compared by cosine."""


class Faceres(nn.Module):
    """Age, gender and identity of FFHQ-aligned images `[N, 3, H, W]` in [-1, 1]."""

    name = "faceres"
    ages: Tensor

    def __init__(self, size: int = 224) -> None:
        super().__init__()
        self.size = size
        self.stem = nn.Conv2d(3, 32, 3, stride=2)
        inputs = (32, *WIDTHS[:-1])
        strides = [2 if i + 1 in HALVING else 1 for i in range(len(WIDTHS))]
        self.depthwise = nn.ModuleList(
            nn.Conv2d(c, c, 3, stride=stride, groups=c) for c, stride in zip(inputs, strides, strict=True)
        )
        self.pointwise = nn.ModuleList(nn.Conv2d(c, width, 1) for c, width in zip(inputs, WIDTHS, strict=True))
        self.hidden = nn.Linear(WIDTHS[-1], 256)
        self.age_head = nn.Linear(256, 100)
        self.gender_head = nn.Linear(256, 1)
        self.register_buffer("ages", torch.arange(100.0), persistent=False)

    def crop(self, img: Tensor) -> Tensor:
        """The network's input `[N, 3, 224, 224]` in 0..255."""
        return tensorflow.cut(img, BOX, self.size)

    def descriptor(self, x: Tensor) -> Tensor:
        """Pooled features `[N, 1024]` of crops."""
        x = F.relu6(self.stem(tensorflow.same(x, 3, 2)))
        for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
            x = F.relu6(depthwise(tensorflow.same(x, 3, depthwise.stride[0])))  # type: ignore[index, arg-type]
            x = F.relu6(pointwise(x))
        return x.mean(dim=(2, 3))

    @torch.no_grad()
    def forward(self, img: Tensor) -> FaceresReading:
        with torch.autocast(img.device.type, enabled=False):
            descriptor = self.descriptor(self.crop(img))
            hidden = F.relu(self.hidden(descriptor))
            age = self.age_head(hidden).softmax(dim=1) @ self.ages
            return FaceresReading(age, self.gender_head(hidden)[:, 0].sigmoid(), descriptor)

    @staticmethod
    def similarity(a: Tensor, b: Tensor) -> Tensor:
        """Cosine `[...]` of descriptors `[..., 1024]`; 0.44 on average between different persons (60 random faces)."""
        return F.cosine_similarity(a, b, dim=-1)


def load_faceres() -> Faceres:
    """The network with its weights from the cache folder. Raises AdfdError where they are missing or damaged."""
    graph = json.loads(fetch.FACERES_GRAPH.locate().read_text(encoding="utf-8"))
    entries = graph["weightsManifest"][0]["weights"]
    arrays = tensorflow.read_weights(entries, fetch.FACERES.locate().read_bytes())
    network = Faceres()
    state = {
        "stem.weight": tensorflow.kernel(arrays["conv1/convolution/merged_input"]),
        "stem.bias": arrays["conv1_bn/batchnorm_1/sub"],
    }
    for i in range(len(WIDTHS)):
        dw, pw = f"conv_dw_{i + 1}", f"conv_pw_{i + 1}"
        scale = arrays[f"{dw}_bn/batchnorm_1/mul"]
        state[f"depthwise.{i}.weight"] = (
            tensorflow.depthwise_kernel(arrays[f"{dw}/depthwise_kernel"]) * scale[:, None, None, None]
        )
        state[f"depthwise.{i}.bias"] = arrays[f"{dw}_bn/batchnorm_1/sub"]
        state[f"pointwise.{i}.weight"] = tensorflow.kernel(arrays[f"{pw}/convolution/merged_input"])
        state[f"pointwise.{i}.bias"] = arrays[f"{pw}_bn/batchnorm_1/sub"]
    for ours, theirs in {"hidden": "feats", "age_head": "age_pred", "gender_head": "gender_pred"}.items():
        state[f"{ours}.weight"] = arrays[f"{theirs}/kernel"].T.contiguous()
        state[f"{ours}.bias"] = arrays[f"{theirs}/bias"]
    network.load_state_dict(state)
    return network.requires_grad_(False).eval().to(memory_format=torch.channels_last)
