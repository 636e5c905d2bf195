"""LPIPS v0.1 with AlexNet, from the lpips package; its weights are in the cache folder (`models/fetch.py`).

(Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018.)
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from adfd.models import checkpoints, flax, tensorflow

SLICES = {0: "slice1.0", 3: "slice2.3", 6: "slice3.6", 8: "slice4.8", 10: "slice5.10"}
"""Indices of the convolutions in torchvision's `features`, and their names in the lpips package's network."""


class LpipsAlex(nn.Module):
    """LPIPS in two steps, features and distance, so that a picture's features are computed once for many comparisons.

    Gives the same distances as the lpips package.
    """

    name = "lpips"

    def __init__(self) -> None:
        import lpips  # imports torchvision, which is slow and only needed here

        super().__init__()
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore", UserWarning)  # the package uses deprecated arguments of torchvision
            self.lpips = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)

    def features(self, img: Tensor) -> list[Tensor]:
        """Unit-normalised features after each of AlexNet's five stages, of images `[N, 3, H, W]` in [-1, 1]."""
        with torch.autocast(img.device.type, enabled=False):
            maps = self.lpips.net(self.lpips.scaling_layer(img.float()))
            return [x / (x.norm(dim=1, keepdim=True) + 1e-10) for x in maps]

    def distance(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        """LPIPS `[N]` of two sets of features; 0 for the same picture."""
        with torch.autocast(a[0].device.type, enabled=False):
            stages = zip(self.lpips.lins, a, b, strict=True)
            return torch.stack([lin((x - y).square()).mean(dim=(1, 2, 3)) for lin, x, y in stages]).sum(dim=0)


def load_lpips() -> LpipsAlex:
    """LPIPS with the fetched weights. Raises AdfdError where they are missing or damaged."""
    from adfd.models import fetch  # also a command, `python -m adfd.models.fetch`: runpy warns if imported before

    path = fetch.ALEXNET.locate()
    arrays = flax.read(path)
    judge = LpipsAlex()
    trunk = {}
    for i, ours in enumerate(SLICES.values()):
        trunk[f"{ours}.weight"] = tensorflow.kernel(arrays[f"AlexNet_0/Conv_{i}/kernel"])
        trunk[f"{ours}.bias"] = arrays[f"AlexNet_0/Conv_{i}/bias"]
    checkpoints.fill(judge.lpips.net, trunk, path)
    return judge.requires_grad_(False).eval()


def read_alexnet(path: Path) -> LpipsAlex:
    """LPIPS with the convolutions of a torchvision AlexNet file, without its classifier.

    Raises AdfdError where the file is missing, damaged or of another network.
    """
    judge = LpipsAlex()
    state = checkpoints.entry(checkpoints.read(path), None, path)
    convolutions = {key: value for key, value in state.items() if not key.startswith("classifier.")}
    for index, ours in SLICES.items():
        for kind in ("weight", "bias"):
            if f"features.{index}.{kind}" in convolutions:
                convolutions[f"{ours}.{kind}"] = convolutions.pop(f"features.{index}.{kind}")
    checkpoints.fill(judge.lpips.net, convolutions, path)
    return judge
