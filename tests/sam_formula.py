"""The four files of the SAM stack, of the published form and size, with values from a formula; made once and kept.

The rules are those under which the golden data of `tests/golden/sam.npz` were made. `python -m tests.sam_formula` makes
the files (3 GB, half a minute) and prints their folder.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.models import alexnet

GOLDEN = Path(__file__).parent / "golden"
SAM, ARCFACE, DEX = "sam_ffhq_aging.pt", "model_ir_se50.pth", "dex_age_classifier.pth"
ALEXNET = "alexnet-owt-7be5be79.pth"
OPTS = {"output_size": 1024, "input_nc": 4, "encoder_type": "GradualStyleEncoder"}
STARTS = {
    "average": {"start_from_latent_avg": True, "start_from_encoded_w_plus": True},
    "encoded": {"start_from_latent_avg": False, "start_from_encoded_w_plus": True},
    "neither": {"start_from_latent_avg": False, "start_from_encoded_w_plus": False},
}
"""The three cases of the options that say what SAM's offset is added to. Golden data are of the first."""


def folder() -> Path:
    """Where the files lie: ADFD_FORMULA_DIR, or a folder of this user's under /tmp."""
    return Path(os.environ.get("ADFD_FORMULA_DIR", f"/tmp/adfd-formula2-{os.getuid()}"))


def normal(key: str, shape: tuple[int, ...] | list[int]) -> np.ndarray:
    return np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)


def tensor(key: str, entry: dict) -> Tensor:
    """One tensor of the manifest."""
    if entry["dtype"] == "int64":
        return torch.zeros(entry["shape"], dtype=torch.int64)
    if entry["std"] is None:
        kernel = torch.tensor([1.0, 3.0, 3.0, 1.0])
        return torch.outer(kernel, kernel) / 64 * 4
    if entry["std"] == 0:
        return torch.full(entry["shape"], float(entry["mean"]))
    return torch.from_numpy((entry["mean"] + entry["std"] * normal(key, entry["shape"])).astype(np.float32))


def state_dict(entries: dict[str, dict]) -> dict[str, Tensor]:
    return {key: tensor(key, entry) for key, entry in entries.items()}


def alexnet_state() -> dict[str, Tensor]:
    """AlexNet's weights under torchvision's keys."""
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in alexnet(weights=None).state_dict().items()}
    stds = {key: math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.05 for key, shape in shapes.items()}
    entries = {key: {"shape": shape, "dtype": "float32", "mean": 0, "std": stds[key]} for key, shape in shapes.items()}
    return {key: tensor(f"alexnet.{key}", entry) for key, entry in entries.items()}


def with_start(path: Path, start: str, target: Path) -> Path:
    """The same file of SAM's with other options; 2.3 GB."""
    content = torch.load(path, weights_only=True, mmap=True)
    torch.save(content | {"opts": OPTS | STARTS[start]}, target)
    return target


def formula_files() -> dict[str, Path]:
    """Paths of the files by the argument names of `load_sam`; those not there yet are made."""
    manifest = json.loads((GOLDEN / "sam_manifest.json").read_text())
    made = {
        SAM: lambda: {
            "state_dict": state_dict(manifest[SAM]["state_dict"]),
            "latent_avg": tensor("latent_avg", manifest[SAM]["latent_avg"]),
            "opts": OPTS | STARTS["average"],
        },
        ARCFACE: partial(state_dict, manifest[ARCFACE]),
        DEX: lambda: {"state_dict": state_dict(manifest[DEX]["state_dict"])},
        ALEXNET: alexnet_state,
    }
    for name, make in made.items():
        path = folder() / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            half = path.with_name(f".{name}.{os.getpid()}")
            torch.save(make(), half)
            half.replace(path)
    return dict(zip(("sam", "arcface", "dex", "alexnet"), (folder() / name for name in made), strict=True))


def formula_coefficients() -> tuple[Tensor, Tensor]:
    """`coef_age` and `coef_id` of the 6 048 convolution channels."""
    age, identity = (
        torch.from_numpy(np.abs(normal(key, (6048,)) * scale).astype(np.float32).clip(0, most))
        for key, scale, most in (("coef_age", 0.18, 0.7), ("coef_id", 0.1, 0.5))
    )
    return age, identity


def image(i: int) -> Tensor:
    """The i-th source picture, `[1, 3, 256, 256]` in [-1, 1]: sums of sinusoids."""
    r = np.random.RandomState(100 + i)
    y, x = np.mgrid[0:256, 0:256] / 256
    planes = np.zeros((256, 256, 3))
    for channel in range(3):
        for _ in range(12):
            fx, fy = r.uniform(-6, 6, 2)
            amplitude = r.uniform(0.2, 1)
            planes[..., channel] += amplitude * np.sin(2 * np.pi * (fx * x + fy * y) + r.uniform(0, 6.28))
    planes = (planes - planes.min()) / (planes.max() - planes.min()) * 255
    return torch.from_numpy(planes.astype(np.uint8)).permute(2, 0, 1)[None].float() / 255 * 2 - 1


if __name__ == "__main__":
    formula_files()
    print(folder())
