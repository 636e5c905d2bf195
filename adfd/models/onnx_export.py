"""Export a stack's networks as ONNX files, and compare onnxruntime's results with torch's."""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adfd.basics.errors import AdfdError
from adfd.models.networks import Networks

OPSET = 18  # the first with antialiased resizing, which the judges use


class Part(nn.Module):
    """A module whose forward is one function of a stack."""

    def __init__(self, owner: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.owner, self.function = owner, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@dataclass(frozen=True)
class Exported:
    """An ONNX file and its comparison with torch, on a batch size other than the traced one.

    Errors are the largest absolute differences from the same part in double precision, since torch's own rounding error
    can be the larger one.
    """

    name: str
    path: Path
    onnx_error: float
    torch_error: float
    scale: float
    """Largest absolute value of the output."""
    torch_seconds: float
    onnx_seconds: float

    @property
    def relative(self) -> float:
        """The file's error divided by the scale, which counts as at least 1; ages have scales of tens of years."""
        return self.onnx_error / max(self.scale, 1.0)


@torch.no_grad()
def parts(networks: Networks, seed: int) -> dict[str, tuple[Part, Tensor]]:
    """The parts by name, each with an example input of three rows computed from random faces.

    `mapping` z to w, `affine` w to s, `synthesis` s to the picture. The judges take pictures of 256 px, or the
    generator's resolution if smaller: `age` in years, `identity` as a vector, `gender` as log-probabilities (female,
    male).
    """
    generator = networks.generator
    z = torch.randn(3, generator.w_dim, generator=torch.Generator().manual_seed(seed)).to(networks.device)
    w = generator.truncate(networks.mapping(z), 0.7)
    s = networks.affine(w)
    img = networks.render(s)
    owner: nn.Module = generator  # type: ignore[assignment]
    return {
        "mapping": (Part(owner, generator.mapping), z),
        "affine": (Part(owner, generator.affine), w),
        "synthesis": (Part(owner, generator.synthesis), s),
        "age": (Part(networks.age, networks.age), img),
        "identity": (Part(networks.embed, networks.embed), img),
        "gender": (Part(networks.gender, networks.gender), img),
    }


def export(networks: Networks, folder: Path, seed: int, tolerance: float) -> list[Exported]:
    """Write every part to `folder` and compare it with torch on two rows, using torch's number of threads for both.

    Raises AdfdError where packages are missing or a part's relative error is above `tolerance`.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise AdfdError(f"{error.name} is missing; install it with: pip install 'adfd[export]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    made = []
    for name, (part, x) in parts(networks, seed).items():
        path = folder / f"{name}.onnx"
        write(part, x, path)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        one = compare(name, path, part, x[:2], session)
        if one.relative > tolerance:
            raise AdfdError(
                f"{path} is off by {one.onnx_error:g} (torch by {one.torch_error:g}) of values up to {one.scale:g}, "
                f"more than tolerance={tolerance:g} allows; do not use this file"
            )
        made.append(one)
    return made


@torch.no_grad()
def compare(name: str, path: Path, part: Part, x: Tensor, session: Any) -> Exported:
    """Compare a part with its file, open in `session`, on the rows `x`: errors and run times."""
    exact = copy.deepcopy(part).double()(x.double()).cpu().numpy()
    by_torch, torch_seconds = timed(lambda: part(x))
    given = x.cpu().numpy()
    by_onnx, onnx_seconds = timed(lambda: session.run(None, {"x": given})[0])
    return Exported(
        name,
        path,
        onnx_error=float(np.abs(by_onnx - exact).max()),
        torch_error=float(np.abs(by_torch.cpu().numpy() - exact).max()),
        scale=float(np.abs(exact).max()),
        torch_seconds=torch_seconds,
        onnx_seconds=onnx_seconds,
    )


def write(part: Part, x: Tensor, path: Path) -> None:
    """Export one part to one file that accepts any number of rows."""
    for name in ("onnxscript", "torch.onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            part.eval(),
            (x,),
            str(path),
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def timed(function: Callable) -> tuple:
    """A function's result, and the shortest of three run times in seconds after a warm-up call."""
    answer = function()
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return answer, min(seconds)
