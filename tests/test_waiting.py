"""What a person waits for before a stage has anything to do: nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "scipy", "lightning", "wandb", "matplotlib", "torchvision", "dlib", "imageio_ffmpeg", "ray", "joblib"}
STAGES = ["adfd", "adfd.prepare", "adfd.analyze", "adfd.evaluate"]
PROGRAM = """
import runpy, sys
module, *sys.argv[1:] = sys.argv[1:]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as end:
    code = end.code
else:
    code = 0
print("code", code, "loaded", *sorted(set(sys.modules) & HEAVY), file=sys.stderr)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("said", "code"), [("--help", 0), ("--cfg=job", 0), ("refinne.lr=1", 1)])
def test_help_configuration_and_typos_load_nothing_heavy(stage: str, said: str, code: int) -> None:
    program = f"HEAVY = {HEAVY!r}{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", program, stage, said], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert done.stderr.splitlines()[-1].split() == ["code", str(code), "loaded"], done.stderr[-2000:]
