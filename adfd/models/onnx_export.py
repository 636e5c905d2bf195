"""A stack's networks as ONNX files, and what onnxruntime then computes beside torch."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from adfd.basics.errors import AdfdError
from adfd.models.networks import Networks

OPSET = 18  # the first that resizes with antialiasing, as the judges do


class Part(nn.Module):
    """One function of a stack as a module."""

    def __init__(self, owner: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.owner, self.function = owner, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@dataclass(frozen=True)
class Exported:
    """A file and how it compares, on a batch of another size than it was traced with."""

    name: str
    path: Path
    difference: float
    """Largest absolute one to torch."""
    scale: float
    """Largest absolute value of torch's answer."""
    torch_seconds: float
    onnx_seconds: float

    @property
    def relative(self) -> float:
        """The difference over the scale, where that is above 1: ages are tens of years."""
        return self.difference / max(self.scale, 1.0)


@torch.no_grad()
def parts(networks: Networks, seed: int) -> dict[str, tuple[Part, Tensor]]:
    """Every part with an input of three rows, as random faces give them.

    `mapping` z to w, `affine` w to s, `synthesis` s to the picture; the judges read pictures of 256 px (a smaller
    generator's own size): `age` in years, `identity` as a vector, `gender` as log-probabilities (female, male).
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
    """Write every part to `folder` and compare it with torch on two rows.

    Raises AdfdError where the packages for it are missing or a part differs by more than `tolerance` of its scale.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise AdfdError(f"{error.name} is missing; install it with: pip install 'adfd[export]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, (part, x) in parts(networks, seed).items():
        path = folder / f"{name}.onnx"
        write(part, x, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        rows = x[:2]
        with torch.no_grad():
            wanted, torch_seconds = timed(lambda part=part, rows=rows: part(rows))
        given = rows.cpu().numpy()
        found, onnx_seconds = timed(lambda session=session, given=given: session.run(None, {"x": given})[0])
        expected = wanted.cpu().numpy()
        difference = float(np.abs(found - expected).max())
        one = Exported(name, path, difference, float(np.abs(expected).max()), torch_seconds, onnx_seconds)
        if one.relative > tolerance:
            raise AdfdError(f"{path} differs from torch by {one.difference:g}, more than {tolerance:g}; leave it out")
        made.append(one)
    return made


def write(part: Part, x: Tensor, path: Path) -> None:
    """One part as one file, for any number of rows."""
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
    """A function's answer and its seconds, the second time it is called."""
    function()
    started = time.perf_counter()
    answer = function()
    return answer, time.perf_counter() - started
