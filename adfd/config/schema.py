"""The typed root schema of every stage: its keys and their types. Default values are in `conf/`, never here.

Misspelt keys and wrong types are refused while Hydra composes, before any weights are read. Ranges are checked by the
settings classes (`LossWeights`, `Refinement`, ...), which the builders construct before they load a network.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, Container, OmegaConf

from adfd.config.build_shared import STACK
from adfd.config.sweep import job_folder

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "conf" / "edit.yaml").exists() else None
"""None where the package is installed; it then contains `conf` itself, and runs write below the working directory."""
CONF = (CHECKOUT or PACKAGE) / "conf"


@cache
def node(settings: str) -> Any:
    """The config node of a settings class `package.module.Class`: its typed fields without values, and `_target_`.

    The class is parsed from its source instead of imported, since importing its module takes seconds, which would delay
    `--help` and the message about a misspelt key. Assign the node to `<settings>Node` in this module, where the workers
    of a sweep look it up by name.
    """
    module, tree, found = _definition(settings)
    typed: list[Any] = [("_target_", str, field(default=settings))]
    for item in found.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            word = isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)
            assert item.value is None or word, f"{found.name}.{item.target.id}: numbers are declared in conf/"
            kind = _kind(ast.unparse(item.annotation), tree, module)
            typed.append((item.target.id, kind, field(default=MISSING)))
    return _made(f"{found.name}Node", typed)


@cache
def function_node(function: str, given: tuple[str, ...], **also: Any) -> Any:
    """The config node of a method or loader `package.module.function`: its typed parameters without values.

    Parameters that the program passes itself are left out: `given`, and, for a function with keyword-only parameters,
    which is a method and built as a partial function, all positional ones. `also` are further keys that the builders
    read, with their types. Assign the node to a name in this module as for `node`.
    """
    module, tree, found = _definition(function)
    parameters = found.args.kwonlyargs or found.args.args
    left = [one for one in parameters if one.annotation and one.arg not in (*given, *also)]
    kinds = {one.arg: _kind(ast.unparse(one.annotation), tree, module) for one in left} | also
    name = "".join(word.capitalize() for word in found.name.removeprefix("load_").split("_"))
    partial = [("_partial_", bool, field(default=True))] if found.args.kwonlyargs else []
    typed = [(key, kind, field(default=MISSING)) for key, kind in {"_target_": str, **kinds}.items()]
    return _made(f"{name}Node", [*typed, *partial])


def _definition(name: str) -> tuple[str, ast.Module, Any]:
    """For `package.module.name`: the module's name, its syntax tree, and the class or function `name` in it."""
    module, own = name.rsplit(".", 1)
    tree = ast.parse((PACKAGE.parent / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8"))
    (found,) = (item for item in tree.body if isinstance(item, ast.ClassDef | ast.FunctionDef) and item.name == own)
    return module, tree, found


def _made(name: str, typed: list[Any]) -> Any:
    made = make_dataclass(name, typed)
    made.__module__ = __name__
    return made


def _kind(annotation: str, tree: ast.Module, module: str) -> Any:
    """The type of a field: built-in types unchanged, paths as str, settings classes as their nodes."""
    annotation = annotation.replace("Path | str", "str")
    first = annotation.split(" | ")[0]
    for item in tree.body:
        if isinstance(item, ast.ImportFrom) and first in [alias.name for alias in item.names]:
            return Any if item.module == "typing" or first != annotation else node(f"{item.module}.{annotation}")
        if isinstance(item, ast.ClassDef) and item.name == first:
            return node(f"{module}.{annotation}")
    return eval(annotation, {})  # built-in types only, such as str | None


LossWeightsNode = node("adfd.methods.objective.LossWeights")
RefinementNode = node("adfd.methods.refine.Refinement")
PrepareSettingsNode = node("adfd.faces.prepared.PrepareSettings")
ChannelWeightsNode = node("adfd.stylespace.weights.ChannelWeights")
PerturbationNode = node("adfd.methods.diversify.Perturbation")
PathNode = node("adfd.methods.guided.Path")
SearchNode = node("adfd.methods.guided.Search")
AnimationNode = node("adfd.runs.animation.Animation")
DistillationNode = node("adfd.analysis.distillation.Distillation")
GalleryNode = node("adfd.report.channel_gallery.Gallery")
CorrelationNode = node("adfd.analysis.correlation.Correlation")
SensitivityNode = node("adfd.analysis.sensitivity.Sensitivity")
InterventionNode = node("adfd.analysis.intervention.Intervention")
ViewsNode = node("adfd.models.views.Views")
NatureNode = node("adfd.analysis.nature.Nature")
RealignmentNode = node("adfd.methods.realign.Realignment")
AcceptanceNode = node("adfd.methods.acceptance.Acceptance")
FolderNode = node("adfd.evaluation.foreign.Folder")
BootstrapNode = node("adfd.evaluation.bootstrap.Bootstrap")


HERE: dict[str, Any] = {"n_outputs": int, "anchor": str}  # keys of methods that the builder reads
TransformNode = function_node("adfd.methods.transform.transform", ("on_step",))
StyleMixingNode = function_node("adfd.methods.style_mixing.style_mixing", ("on_step",), **HERE)
ReferenceMixingNode = function_node(
    "adfd.methods.reference_mixing.reference_mixing",
    ("on_step",),
    anchor=str,
    references=str,
    layers=list[int] | None,
)
DiversifyNode = function_node("adfd.methods.diversify.diversify", ("on_step",), **HERE)
GuidedNode = function_node("adfd.methods.guided.guided", ("on_step",))

BUILT = ("device", "architecture")
MobileNode = function_node("adfd.models.mobile.load_mobile", BUILT, **STACK)
SamNode = function_node("adfd.models.sam.load_sam", BUILT, **STACK)
Stylegan2Node = function_node("adfd.models.sam.load_stylegan2", BUILT, **STACK)


@dataclass
class DataNode:
    kind: str = MISSING
    path: str | None = MISSING
    recursive: bool = MISSING
    pattern: str = MISSING
    seeds: list[int] = MISSING
    psi: float = MISSING


@dataclass
class HardwareNode:
    _target_: str = MISSING
    accelerator: str = MISSING
    devices: Any = MISSING
    strategy: str = MISSING
    num_nodes: int = MISSING
    precision: str = MISSING
    probe: bool = MISSING
    compile: bool = MISSING
    tf32: bool = MISSING


@dataclass
class LoggerNode:
    csv: bool = MISSING
    wandb: bool = MISSING
    every_n_steps: int = MISSING
    project: str = MISSING
    entity: str | None = None
    mode: str = MISSING
    tags: list[str] = MISSING


@dataclass
class SweepNode:
    resume: bool = MISSING


@dataclass
class PathsNode:
    root: str = str(CHECKOUT or Path.cwd())
    package: str = str(PACKAGE)
    output_dir: str = MISSING
    prepared_dir: str = MISSING
    channels_dir: str = MISSING


@dataclass
class PrepareConfig:
    """Root of `python -m adfd.prepare`."""

    paths: PathsNode = MISSING
    model: Any = MISSING
    data: DataNode = MISSING
    prepare: PrepareSettingsNode = MISSING  # type: ignore[valid-type]
    hardware: HardwareNode = MISSING


@dataclass
class AnalyzeConfig:
    """Root of `python -m adfd.analyze`."""

    paths: PathsNode = MISSING
    model: Any = MISSING
    views: ViewsNode = MISSING  # type: ignore[valid-type]
    analysis: Any = MISSING
    hardware: HardwareNode = MISSING
    logger: LoggerNode = MISSING
    sweep: SweepNode = MISSING
    seed: int = MISSING
    fdr: float = MISSING
    compare: str | None = None
    gallery: GalleryNode = MISSING  # type: ignore[valid-type]
    animation: AnimationNode = MISSING  # type: ignore[valid-type]


@dataclass
class DistillConfig:
    """Root of `python -m adfd.distill`."""

    paths: PathsNode = MISSING
    model: Any = MISSING
    hardware: HardwareNode = MISSING
    seed: int = MISSING
    distillation: DistillationNode = MISSING  # type: ignore[valid-type]


@dataclass
class TableNode:
    columns: list[str] = MISSING
    natural: bool = MISSING
    against: str | None = MISSING
    by_age: list[str] = MISSING


@dataclass
class FiguresNode:
    trade_offs: list[Any] = MISSING
    sheet_photos: int = MISSING
    sheet_jobs: int = MISSING


@dataclass
class EvaluateConfig:
    """Root of `python -m adfd.evaluate`."""

    paths: PathsNode = MISSING
    model: Any = MISSING
    views: ViewsNode = MISSING  # type: ignore[valid-type]
    prepare: PrepareSettingsNode = MISSING  # type: ignore[valid-type]
    hardware: HardwareNode = MISSING
    source: str = MISSING
    runs: Any = MISSING
    trust: list[str] = MISSING
    judges: str = MISSING
    cyclic: bool = MISSING
    independent: bool = MISSING
    batch_size: int = MISSING
    folder: FolderNode = MISSING  # type: ignore[valid-type]
    bootstrap: BootstrapNode = MISSING  # type: ignore[valid-type]
    table: TableNode = MISSING
    figures: FiguresNode = MISSING


@dataclass
class ExportConfig:
    """Root of `python -m adfd.export`."""

    paths: PathsNode = MISSING
    model: Any = MISSING
    hardware: HardwareNode = MISSING
    seed: int = MISSING
    tolerance: float = MISSING


@dataclass
class EditConfig(PrepareConfig):
    """Root of `python -m adfd`."""

    method: Any = MISSING
    views: ViewsNode = MISSING  # type: ignore[valid-type]
    loss: LossWeightsNode = MISSING  # type: ignore[valid-type]
    refine: RefinementNode = MISSING  # type: ignore[valid-type]
    realign: RealignmentNode = MISSING  # type: ignore[valid-type]
    accept: AcceptanceNode = MISSING  # type: ignore[valid-type]
    redraws: int = MISSING
    channels: ChannelWeightsNode = MISSING  # type: ignore[valid-type]
    path: PathNode = MISSING  # type: ignore[valid-type]
    search: SearchNode = MISSING  # type: ignore[valid-type]
    animation: AnimationNode = MISSING  # type: ignore[valid-type]
    logger: LoggerNode = MISSING
    sweep: SweepNode = MISSING
    target_age: Any = MISSING
    n_outputs: int = MISSING
    seed: int = MISSING
    reference_compat: bool = MISSING
    age_image: str = MISSING
    paste: bool = MISSING
    photos_per_batch: int = MISSING
    render_batch_size: int = MISSING


def compat(published: Any, ours: Any, *, _root_: Container) -> Any:
    """Resolver `${compat:published,ours}`: `published` with reference_compat=true, otherwise `ours`."""
    return published if OmegaConf.select(_root_, "reference_compat", default=False) else ours


class Shared(dict):
    """A dict that `copy.deepcopy` returns unchanged.

    Hydra deep-copies its whole store for every group that it lists, 190 times for `--help`, although it also copies
    each entry that it loads.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        return self


def register() -> None:
    """Register the schemas with Hydra under the names used in `conf/`."""
    OmegaConf.register_new_resolver("compat", compat, replace=True)
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
    store = ConfigStore.instance()
    store.repo = Shared(store.repo)
    store.store(name="edit_schema", node=EditConfig)
    store.store(name="prepare_schema", node=PrepareConfig)
    store.store(name="analyze_schema", node=AnalyzeConfig)
    store.store(name="distill_schema", node=DistillConfig)
    store.store(name="evaluate_schema", node=EvaluateConfig)
    store.store(name="export_schema", node=ExportConfig)
    methods: dict[str, type] = {
        "transform": TransformNode,
        "style_mixing": StyleMixingNode,
        "reference_mixing": ReferenceMixingNode,
        "diversify": DiversifyNode,
        "guided": GuidedNode,
    }
    for name, schema in methods.items():
        store.store(group="schema/method", name=name, node=schema)
    for name, schema in {"embedded": MobileNode, "sam": SamNode, "stylegan2": Stylegan2Node}.items():
        store.store(group="schema/model", name=name, node=schema)
    analyses = {"correlation": CorrelationNode, "sensitivity": SensitivityNode, "intervention": InterventionNode}
    analyses |= {"nature": NatureNode}
    for name, schema in analyses.items():
        store.store(group="schema/analysis", name=name, node=schema)
