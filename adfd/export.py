"""Stage "export": a stack's networks as ONNX files, compared with torch. `adfd export onnx`."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from adfd.basics.files import atomic
from adfd.config import build_shared, command_line, schema
from adfd.models.age_path import LatentAgePath
from adfd.models.onnx_export import Exported, export
from adfd.runs import console, stage

schema.register()


@command_line.entry("export")
@hydra.main(version_base="1.3", config_path=str(schema.CONF), config_name="export")
def stage_main(cfg: DictConfig) -> None:
    stage.run(command_line.checked(export_onnx), cfg)


def main() -> None:
    """Entry point; removes the optional first argument that names the format: `adfd export onnx model=mobile`."""
    if sys.argv[1:2] == ["onnx"]:
        del sys.argv[1]
    stage_main()


def export_onnx(cfg: DictConfig) -> None:
    """Write the ONNX files, the age path, which is needed to edit with them, and a table of errors and times."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    networks = build_shared.networks(cfg)
    made = export(networks, folder, cfg.seed, cfg.tolerance)
    if networks.channels is not None and networks.channels.age_year is not None:
        path = LatentAgePath(networks.channels)
        steps = (path.younger_year, path.older_year, networks.generator.w_avg)
        younger, older, w_avg = (step.cpu().numpy() for step in steps)
        with atomic(folder / "path.npz") as stream:
            np.savez(stream, younger_year=younger, older_year=older, w_avg=w_avg)
    with atomic(folder / "export.csv") as stream:
        stream.write(table(made).encode())
    print(table(made), end="")
    console.show_path("ONNX files", folder)


def table(made: list[Exported]) -> str:
    """CSV with one row per file: largest absolute errors against double precision, and seconds for a batch of two."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["part", "megabytes", "largest_value", "onnx_error", "torch_error", "onnx_seconds", "torch_seconds"])
    for one in made:
        size = one.path.stat().st_size / 1e6
        errors = (f"{one.scale:.3g}", f"{one.onnx_error:.1e}", f"{one.torch_error:.1e}")
        rows.writerow([one.name, f"{size:.1f}", *errors, f"{one.onnx_seconds:.4f}", f"{one.torch_seconds:.4f}"])
    return text.getvalue()


if __name__ == "__main__":
    main()
