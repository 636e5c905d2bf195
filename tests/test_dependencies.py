"""What is declared can be had as wheels, whatever the interpreter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PURE = "antlr4-python3-runtime"  # comes as source only, and has nothing to compile
PATHS = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("extras", [("dev", "export", "dashboard"), ("launchers",), ("app",), ("docs",)], ids="+".join)
def test_wheels_for_every_python(python: str, extras: tuple[str, ...]) -> None:
    uv = shutil.which("uv", path=PATHS) or pytest.skip("pip install uv brings the resolver")
    said = subprocess.run(
        [
            *(uv, "pip", "compile", "--quiet", "pyproject.toml", "--constraint=constraints.txt"),
            *(f"--extra={extra}" for extra in extras),
            *(f"--python-version={python}", "--python-platform=x86_64-manylinux_2_28"),
            *("--only-binary=:all:", f"--no-binary={PURE}", "--no-header", "--no-annotate"),
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    assert "torch==" in said.stdout
