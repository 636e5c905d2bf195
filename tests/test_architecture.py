"""The floors of the house: what may import what."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from docs.house import PICTURE, drawing

PACKAGE = Path(__file__).parents[1] / "adfd"
MODULES = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}

STAGES = {
    f"adfd.{name}"
    for name in (
        *("__main__", "prepare", "analyze", "evaluate", "commands", "weights", "editor", "export", "dashboard"),
        *("page", "app", "gpu_check", "distill"),
    )
}
FLOORS = [
    *({"stages"}, {"config"}, {"report"}, {"evaluation"}, {"runs"}, {"methods", "analysis", "faces"}),
    *({"models"}, {"stylespace"}, {"basics"}),
]
"""From the roof down. A module imports its own room and the floors below it, nothing else."""
ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


PLACES = {
    "hydra": {"stages", "config", "adfd.runs.stage"},
    "omegaconf": {"stages", "config", "adfd.runs.stage"},
    "wandb": {"adfd.runs.tracking"},
    "lightning": {"config"},
    "gradio": {"adfd.app"},
    "torch.load": {"adfd.models.checkpoints"},
    "torch.serialization": {"adfd.models.checkpoints"},
    "pickle": {"adfd.basics.pickles"},
    **{library: set[str]() for library in ("dill", "cloudpickle", "shelve", "marshal")},
}
"""What may be imported or named only in these rooms and modules."""
ANYWHERE = {"adfd.__version__", "adfd.Editor"}
MAX_LINES, MAX_BUILDER_LINES, MAX_FIELDS = 350, 150, 12
RECORDS = {"Channels", "Calibration"}
"""Records of data: what one file holds, with the ways to read and write it."""


@cache
def imports(source: str) -> set[str]:
    """All that a module imports, each also with the module it comes from, whether at its top or in a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name the package, never a relative place"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def names(source: str) -> set[str]:
    """What a module imports, and every dotted name in it, as `torch.load`."""
    dotted = {ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    return imports(source) | dotted


def room(module: str) -> str:
    """The room of a module; of the package's own `__init__`, the roof, which imports nothing."""
    top = ".".join(module.split(".")[:2])
    return "stages" if top in {*STAGES, "adfd.__init__"} else module.split(".")[1]


def faults(module: str, source: str) -> list[str]:
    """What a module imports or names and may not."""
    mine, found = room(module), list[str]()
    for other in imports(source):
        ours = other.startswith("adfd.") and other not in ANYWHERE and room(other) != mine
        if ours and ROOMS[room(other)] <= ROOMS[mine]:
            found.append(f"{module} must not import {other}")
    for name in names(source):
        for thing, allowed in PLACES.items():
            if f"{name}.".startswith(f"{thing}.") and not allowed & {mine, module}:
                found.append(f"{module} must not use {name}")
        if name.endswith(".cuda"):
            found.append(f"{module} must not choose a device: {name}")
    if "allow_pickle=True" in source:
        found.append(f"{module} must not unpickle arrays")
    return found


def test_every_module_lives_in_a_room() -> None:
    assert {room(module) for module in MODULES} == set(ROOMS)
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", *(name.split(".")[1] for name in STAGES)}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down_and_libraries_stay_in_their_place(module: str) -> None:
    assert not faults(module, MODULES[module].read_text())


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("adfd.basics.files", "from adfd.stylespace import layout"),
        ("adfd.methods.refine", "import adfd.runs.directory"),
        ("adfd.faces.align", "from adfd.methods.refine import refine"),
        ("adfd.report.pages", "from adfd.config import schema"),
        ("adfd.runs.edit", "def late():\n    from adfd.evaluation.jobs import Job"),
        ("adfd.runs.edit", "import hydra"),
        ("adfd.methods.guided", "from omegaconf import DictConfig"),
        ("adfd.report.figures", "import wandb.sdk"),
        ("adfd.editor", "import gradio"),
        ("adfd.models.sam", "from lightning.fabric import Fabric"),
        ("adfd.models.sam", "import torch\ntorch.load('file')"),
        ("adfd.models.sam", "from torch import load"),
        ("adfd.stylespace.statistics", "import pickle"),
        ("adfd.stylespace.statistics", "np.load(file, allow_pickle=True)"),
        ("adfd.methods.refine", "s.cuda()"),
    ],
)
def test_what_is_forbidden_would_be_seen(module: str, line: str) -> None:
    assert faults(module, f"{MODULES[module].read_text()}\n{line}\n")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_files_and_classes_stay_small(module: str) -> None:
    """Records of data may have more fields: those named above, and those that do nothing."""
    source = MODULES[module].read_text()
    limit = MAX_BUILDER_LINES if module.startswith("adfd.config.build_") else MAX_LINES
    assert len(source.splitlines()) <= limit
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
            acts = [item.name for item in node.body if isinstance(item, ast.FunctionDef) and item.name[:2] != "__"]
            assert len(fields) <= MAX_FIELDS or not acts or node.name in RECORDS, (
                f"{node.name} has {len(fields)} fields and {acts}"
            )


def test_the_picture_of_the_house_is_drawn_from_the_imports() -> None:
    assert PICTURE.read_text() == drawing(FLOORS, MODULES, room, imports), "make house draws it anew"


JUDGES = {"adfd.models.faceres", "adfd.models.faceapi", "adfd.models.vgg16", "adfd.evaluation.panel"}
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
    graph = {name: imports(path.read_text()) for name, path in MODULES.items()}
    assert not reaches(module, graph) & JUDGES, f"{module} reaches a judge that must stay out of every loss"


@pytest.mark.parametrize("module", ["adfd.methods.refine", "adfd.methods.objective", "adfd.methods.anchors"])
@pytest.mark.parametrize("line", ["from adfd.models.faceres import load_faceres", "import adfd.models.faceapi"])
def test_importing_a_judge_would_be_seen(module: str, line: str, tmp_path: Path) -> None:
    cheat = tmp_path / "cheat.py"
    cheat.write_text(f"{MODULES[module].read_text()}\n{line}\n")
    graph = {name: imports(path.read_text()) for name, path in MODULES.items()} | {module: imports(cheat.read_text())}
    assert reaches("adfd.methods.diversify", graph) & JUDGES


def test_no_module_is_called_utils() -> None:
    assert not [module for module in MODULES if "util" in module or "helper" in module]
