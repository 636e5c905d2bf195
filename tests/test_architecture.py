"""Import rules: what may know of what."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "adfd"
MODULES = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}

STAGES = {"adfd.__main__", "adfd.prepare", "adfd.analyze", "adfd.evaluate"}
MAY_KNOW_HYDRA = STAGES | {"adfd.stage", "adfd.build", "adfd.config", "adfd.sweep", "adfd.convergence"}
LAYERS = [
    *("stages", "build", "editing", "measuring", "foreign", "methods", "refine", "objective", "anchors"),
    *("models", "channels", "stylespace"),
]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(module: str) -> str | None:
    if module in STAGES:
        return "stages"
    name = module.split(".")[1] if "." in module else ""
    return name if name in LAYERS else None


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module: str) -> None:
    mine = layer(module)
    if mine is None:
        return
    for other in imports(MODULES[module]):
        theirs = layer(other)
        if theirs is not None and theirs != mine:
            assert LAYERS.index(theirs) > LAYERS.index(mine), f"{module} must not import {other}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_libraries_stay_in_their_place(module: str) -> None:
    roots = {name.split(".")[0] for name in imports(MODULES[module])}
    assert module in MAY_KNOW_HYDRA or not roots & {"hydra", "omegaconf"}
    assert module == "adfd.tracking" or "wandb" not in roots
    assert module == "adfd.build" or "lightning" not in roots
    source = MODULES[module].read_text()
    assert module == "adfd.models.checkpoints" or "torch.load" not in source
    assert module == "adfd.published_channels" or "pickle" not in roots
    assert ".cuda(" not in source


def test_methods_and_models_know_no_files_of_a_run() -> None:
    leaves = {"adfd.runs", "adfd.tracking", "adfd.tables", "adfd.sheets"}
    for module, path in MODULES.items():
        if layer(module) in {"methods", "refine", "objective", "anchors", "models", "channels", "stylespace"}:
            assert not imports(path) & leaves, module


def test_no_module_is_called_utils() -> None:
    assert not [module for module in MODULES if "util" in module or "helper" in module]
