"""The floors of the house: what may import what."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "adfd"
MODULES = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}

STAGES = {
    f"adfd.{name}"
    for name in ("__main__", "prepare", "analyze", "evaluate", "commands", "weights", "editor", "export", "dashboard")
}
FLOORS = [
    *({"stages"}, {"config"}, {"report"}, {"evaluation"}, {"runs"}, {"methods", "analysis", "faces"}),
    *({"models"}, {"stylespace"}, {"basics"}),
]
"""From the roof down. A module imports its own room and the floors below it, nothing else."""
ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(module: str) -> str:
    """The room of a module; of the package's own `__init__`, the roof, which imports nothing."""
    return (
        "stages" if module in {*STAGES, "adfd.__init__"} or module.startswith("adfd.editor.") else module.split(".")[1]
    )


def test_every_module_lives_in_a_room() -> None:
    assert {room(module) for module in MODULES} == set(ROOMS)
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", *(name.split(".")[1] for name in STAGES)}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module: str) -> None:
    mine = room(module)
    for other in imports(MODULES[module]):
        if not other.startswith("adfd.") or other in ("adfd.__version__", "adfd.Editor"):
            continue
        theirs = room(other)
        if theirs != mine:
            assert ROOMS[theirs] > ROOMS[mine], f"{module} must not import {other}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_libraries_stay_in_their_place(module: str) -> None:
    roots = {name.split(".")[0] for name in imports(MODULES[module])}
    assert room(module) in {"stages", "config"} or module == "adfd.runs.stage" or not roots & {"hydra", "omegaconf"}
    assert module == "adfd.runs.tracking" or "wandb" not in roots
    assert room(module) == "config" or "lightning" not in roots
    source = MODULES[module].read_text()
    assert module == "adfd.models.checkpoints" or "torch.load" not in source
    assert module in {"adfd.stylespace.published", "adfd.models.flax"} or "pickle" not in roots
    assert ".cuda(" not in source


JUDGES = {"adfd.models.faceres", "adfd.models.faceapi", "adfd.evaluation.panel"}
"""Judges whose worth is that nothing is optimised against them."""
MAY_JUDGE = {"stages", "config", "report", "evaluation"}


def reaches(module: str, graph: dict[str, set[str]]) -> set[str]:
    """All modules that a module imports, itself or through others."""
    found, to_do = set[str](), [module]
    while to_do:
        names = graph[to_do.pop()]
        new = ((names | {f"{name}.__init__" for name in names}) & set(graph)) - found
        found |= new
        to_do += new
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_that_makes_pictures_reaches_the_independent_judges(module: str) -> None:
    if room(module) in MAY_JUDGE or module in JUDGES:
        return
    graph = {name: imports(path) for name, path in MODULES.items()}
    assert not reaches(module, graph) & JUDGES, f"{module} reaches a judge that must stay out of every loss"


@pytest.mark.parametrize("module", ["adfd.methods.refine", "adfd.methods.objective", "adfd.methods.anchors"])
@pytest.mark.parametrize("line", ["from adfd.models.faceres import load_faceres", "import adfd.models.faceapi"])
def test_importing_a_judge_would_be_seen(module: str, line: str, tmp_path: Path) -> None:
    cheat = tmp_path / "cheat.py"
    cheat.write_text(f"{MODULES[module].read_text()}\n{line}\n")
    graph = {name: imports(path) for name, path in MODULES.items()} | {module: imports(cheat)}
    assert reaches("adfd.methods.diversify", graph) & JUDGES


def test_no_module_is_called_utils() -> None:
    assert not [module for module in MODULES if "util" in module or "helper" in module]
