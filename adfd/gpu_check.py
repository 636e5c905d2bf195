"""Command "gpu-check": a GPU's agreement with the CPU, and its speed. `adfd gpu-check [--device cuda]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from adfd.basics.errors import AdfdError, command
from adfd.basics.files import atomic
from adfd.report.markdown import records


@command
def main() -> int:
    """Write `gpu-check.json` and `gpu-check.md` and print the latter; exit code 1 where the device is unusable."""
    parser = argparse.ArgumentParser(
        prog="adfd gpu-check",
        description="Agreement with the CPU by precision; time per step and memory by batch size; share of peak speed.",
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu to see what the check does")
    parser.add_argument("--model", default="mobile", choices=("mobile", "sam", "tiny"))
    parser.add_argument("--files", type=Path, default=Path("pretrained_models"), help="folder of SAM's files")
    parser.add_argument("--most", type=int, default=64, help="largest batch")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu-check"), help="folder of the two files")
    asked = parser.parse_args()
    told = check(asked.device, asked.model, asked.most, asked.files)
    asked.out.mkdir(parents=True, exist_ok=True)
    text = page(told)
    for name, content in (("gpu-check.json", json.dumps(told, indent=2) + "\n"), ("gpu-check.md", text)):
        with atomic(asked.out / name) as stream:
            stream.write(content.encode())
    print(text)
    return 0


def check(device: str, model: str, most: int, files: Path) -> dict[str, Any]:
    """Run `adfd.models.device_check`. Raises AdfdError where the device is unusable or a file is missing."""
    import torch

    from adfd import models
    from adfd.models import device_check, sam

    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA
        reason = str(error).splitlines()[0]
        raise AdfdError(f"--device {device} cannot be used here ({reason}); --device cpu shows what is done") from None
    if model == "sam":
        transformer, arcface, dex = (files / one.file for one in (sam.SAM, sam.ARCFACE, sam.DEX))
        cpu = models.load_sam(transformer, arcface, dex, perceptual="face_features")
    else:
        cpu = models.load_tiny() if model == "tiny" else models.load_mobile()
    small = (1, 16, 16) if model == "tiny" else device_check.PLAIN
    return device_check.check(cpu, chosen, most, small)


def page(told: dict[str, Any]) -> str:
    """The results as Markdown."""
    memory = f", {told['memory_gb']:.0f} GB" if told["memory_gb"] else ""
    share = f"{100 * told['share_of_ceiling']:.0f} %"
    lines = [
        f"# {told['device']}{memory}: {told['model']}, torch {told['torch']}",
        "",
        "A step is one of a refinement: picture, age, embedding and gradient. Differences are from float32 on the CPU.",
        "",
        records(told["precisions"]),
        "",
        "By batch size, float32; without numbers where the batch did not fit into memory:",
        "",
        records(told["batches"]),
        "",
        f"A step is {told['gflop_a_step']:.3g} GFLOP; with the fastest batch size it runs at {share} of the "
        f"{told['ceiling_gflops']:.3g} GFLOP/s that a plain 3x3 convolution reaches here.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
