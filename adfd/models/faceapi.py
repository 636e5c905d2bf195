"""face-api's age and gender network: an independent judge, used in no loss.

A small Xception from package @vladmandic/face-api, unrelated to dlib's networks and to faceres. Its age estimate varies
by 5 years with the crop, so four crops are read. Nothing is optimised against it: forward computes no gradient.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adfd.models import fetch, tensorflow

BOXES: tuple[tensorflow.Box, ...] = (
    (0.28, 0.2, 0.9, 0.8),
    (0.22, 0.18, 0.92, 0.82),
    (0.3, 0.24, 0.86, 0.76),
    (0.15, 0.1, 0.95, 0.9),
)
RGB_MEAN = (122.782, 117.001, 104.298)


class FaceapiReading(NamedTuple):
    """Readings of face-api on N faces, for each of the four crops."""

    age: Tensor
    """`[N, 4]`, in years, uncalibrated."""
    male: Tensor
    """`[N, 4]`, probabilities."""


class Separable(nn.Module):
    """Separable convolution: depthwise 3x3, then pointwise with bias."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(c_in, c_in, 3, padding=1, groups=c_in, bias=False)
        self.pointwise = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class Reduction(nn.Module):
    """Two separable convolutions and max pooling, plus a 1x1 convolution of the input; halves height and width."""

    def __init__(self, c_in: int, c_out: int, activate: bool = True) -> None:
        super().__init__()
        self.separable_conv0 = Separable(c_in, c_out)
        self.separable_conv1 = Separable(c_out, c_out)
        self.expansion_conv = nn.Conv2d(c_in, c_out, 1, stride=2)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        y = self.separable_conv0(F.relu(x) if self.activate else x)
        y = self.separable_conv1(F.relu(y))
        y = F.max_pool2d(tensorflow.same(y, 3, 2, -torch.inf), 3, stride=2)
        return y + self.expansion_conv(x)


class Main(nn.Module):
    """Three separable convolutions with a residual connection."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.separable_conv0, self.separable_conv1, self.separable_conv2 = (Separable(c, c) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for convolution in (self.separable_conv0, self.separable_conv1, self.separable_conv2):
            y = convolution(F.relu(y))
        return x + y


class Faceapi(nn.Module):
    """Age and gender of FFHQ-aligned images `[N, 3, H, W]` in [-1, 1]."""

    name = "face-api"
    mean: Tensor

    def __init__(self, size: int = 112) -> None:
        super().__init__()
        self.size = size
        self.conv_in = nn.Conv2d(3, 32, 3, stride=2)
        self.entry = nn.Sequential(Reduction(32, 64, activate=False), Reduction(64, 128))
        self.middle = nn.Sequential(Main(128), Main(128))
        self.exit = Reduction(128, 256)
        self.last = Separable(256, 512)
        self.age_head = nn.Linear(512, 1)
        self.gender_head = nn.Linear(512, 2)
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(1, 3, 1, 1), persistent=False)

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Age in years and probability of male, `[N]` each, of crops `[N, 3, 112, 112]` in 0..255."""
        x = F.relu(self.conv_in(tensorflow.same((x - self.mean) / 256, 3, 2)))
        x = F.relu(self.last(self.exit(self.middle(self.entry(x))))).mean(dim=(2, 3))
        return self.age_head(x)[:, 0], self.gender_head(x).softmax(dim=1)[:, 0]

    @torch.no_grad()
    def forward(self, img: Tensor) -> FaceapiReading:
        with torch.autocast(img.device.type, enabled=False):
            crops = torch.cat([tensorflow.cut(img, box, self.size) for box in BOXES])
            age, male = (values.view(len(BOXES), len(img)).T for values in self.read(crops))
            return FaceapiReading(age, male)


PARTS = {
    "conv_in": "entry_flow/conv_in",
    "entry.0": "entry_flow/reduction_block_0",
    "entry.1": "entry_flow/reduction_block_1",
    "middle.0": "middle_flow/main_block_0",
    "middle.1": "middle_flow/main_block_1",
    "exit": "exit_flow/reduction_block",
    "last": "exit_flow/separable_conv",
    "age_head": "fc/age",
    "gender_head": "fc/gender",
}
"""Our module names, and the prefixes of their weights in the file."""


def load_faceapi() -> Faceapi:
    """The network with its weights from the cache folder. Raises AdfdError where they are missing or damaged."""
    (manifest,) = json.loads(fetch.FACEAPI_MANIFEST.locate().read_text(encoding="utf-8"))
    arrays = tensorflow.read_weights(manifest["weights"], fetch.FACEAPI.locate().read_bytes())
    network = Faceapi()
    network.load_state_dict({name: _as_ours(name, arrays[_theirs(name)]) for name in network.state_dict()})
    return network.requires_grad_(False).eval().to(memory_format=torch.channels_last)


def _theirs(name: str) -> str:
    """The file's key for one of our parameter names."""
    ours = next(part for part in PARTS if name.startswith(f"{part}."))
    path = name.removeprefix(f"{ours}.").split(".")
    separable = path[-2:-1] in (["depthwise"], ["pointwise"])
    if separable:
        kind, path = path[-2], path[:-2]
        leaf = "bias" if name.endswith("bias") else f"{kind}_filter"
    else:
        path = path[:-1]
        linear = ours.endswith("head")
        leaf = "bias" if name.endswith("bias") else "weights" if linear else "filters"
    return "/".join([PARTS[ours], *path, leaf])


def _as_ours(name: str, array: Tensor) -> Tensor:
    if name.endswith("bias"):
        return array
    if array.ndim == 2:
        return array.T.contiguous()
    return tensorflow.depthwise_kernel(array) if name.endswith("depthwise.weight") else tensorflow.kernel(array)
