"""Networks as ONNX files, run without torch."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from adfd.basics.errors import AdfdError
from adfd.models import onnx_export
from adfd.models.networks import Networks

onnxruntime = pytest.importorskip("onnxruntime")
EXAMPLE = Path(__file__).parents[1] / "docs" / "edit_with_onnx.py"


@pytest.mark.thorough
def test_every_part_computes_what_torch_does(run_stage: Callable[..., Path], tiny: Networks) -> None:
    folder = run_stage(stage="export", directory="onnx")
    rows = list(csv.DictReader((folder / "export.csv").open()))
    assert [row["part"] for row in rows] == ["mapping", "affine", "synthesis", "age", "identity", "gender"]
    assert all(0 < float(row["onnx_error"]) <= 1e-4 for row in rows if float(row["largest_value"]) < 100)
    assert all(float(row["torch_error"]) < 1e-3 for row in rows)
    z = torch.randn(5, tiny.generator.w_dim)  # rows that were neither traced nor compared
    x = z.numpy()
    for name in ("mapping", "affine", "synthesis", "age"):
        x = onnxruntime.InferenceSession(folder / f"{name}.onnx").run(None, {"x": x})[0]
    with torch.no_grad():
        wanted = tiny.age(tiny.synthesis(tiny.affine(tiny.mapping(z)))).numpy()
    assert np.abs(x - wanted).max() < 1e-2  # of years, after four files
    with torch.no_grad():
        img = tiny.render(tiny.affine(tiny.mapping(z)))
        for name, judge in {"identity": tiny.embed, "gender": tiny.gender}.items():
            read = onnxruntime.InferenceSession(folder / f"{name}.onnx").run(None, {"x": img.numpy()})[0]
            assert np.abs(read - judge(img).numpy()).max() < 1e-4

    made = folder / "edit.png"
    said = subprocess.run(
        [sys.executable, "-X", "importtime", EXAMPLE, folder, made, "30"], check=True, capture_output=True, text=True
    )
    assert " torch" not in said.stderr
    assert made.stat().st_size > 0
    first, second = (float(line.split()[-2]) for line in said.stdout.splitlines())
    assert abs(first - second) > 0.5


@pytest.mark.thorough
def test_a_part_that_differs_is_refused(tiny: Networks, tmp_path: Path) -> None:
    with pytest.raises(AdfdError, match=r"is off by .* more than tolerance=-1 allows"):
        onnx_export.export(tiny, tmp_path, seed=0, tolerance=-1.0)
