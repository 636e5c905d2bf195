"""The typed root schema of every stage: what may be set, of which type. Numbers stand in `conf/`, never here.

Misspelt keys and wrong types are refused while Hydra composes, before any weight is read. Ranges are checked by the
settings themselves (`LossWeights`, `Refinement`, ...), which the builders make before they load a network.
"""

from __future__ import annotations

from dataclasses import MISSING as REQUIRED
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, Container, OmegaConf

from adfd.analysis.correlation import Correlation
from adfd.analysis.intervention import Intervention
from adfd.analysis.sensitivity import Sensitivity
from adfd.config.sweep import job_folder
from adfd.evaluation.bootstrap import Bootstrap
from adfd.evaluation.foreign import Folder
from adfd.faces.prepared import PrepareSettings
from adfd.methods import diversify, guided
from adfd.methods.objective import LossWeights
from adfd.methods.refine import Refinement
from adfd.report.channel_gallery import Gallery
from adfd.runs.animation import Animation
from adfd.stylespace.weights import ChannelWeights

CHECKOUT = Path(__file__).resolve().parents[2]
CONF = CHECKOUT / "conf"


def node(settings: type) -> Any:
    """The config node of a settings class: its fields, typed and without values, and its `_target_`.

    Assign it to `<settings>Node` in this module: the workers of a sweep find it here by its name.
    """
    hints = get_type_hints(settings)
    typed: list[Any] = [("_target_", str, field(default=f"{settings.__module__}.{settings.__qualname__}"))]
    for item in fields(settings):
        kind = node(hints[item.name]) if is_dataclass(hints[item.name]) else hints[item.name]
        assert item.default is REQUIRED, f"{settings.__name__}.{item.name}: numbers are declared in conf/"
        typed.append((item.name, kind, field(default=MISSING)))
    made = make_dataclass(f"{settings.__name__}Node", typed)
    made.__module__ = __name__
    return made


LossWeightsNode = node(LossWeights)
RefinementNode = node(Refinement)
PrepareSettingsNode = node(PrepareSettings)
ChannelWeightsNode = node(ChannelWeights)
PerturbationNode = node(diversify.Perturbation)
PathNode = node(guided.Path)
SearchNode = node(guided.Search)
AnimationNode = node(Animation)
GalleryNode = node(Gallery)
CorrelationNode = node(Correlation)
SensitivityNode = node(Sensitivity)
InterventionNode = node(Intervention)
FolderNode = node(Folder)
BootstrapNode = node(Bootstrap)


@dataclass
class MethodNode:
    _target_: str = MISSING
    _partial_: bool = True


@dataclass
class StyleMixingNode(MethodNode):
    n_outputs: int = MISSING
    anchor: str = MISSING
    from_resolution: int = MISSING
    psi: float = MISSING


@dataclass
class ReferenceMixingNode(MethodNode):
    references: str = MISSING
    anchor: str = MISSING
    layers: list[int] | None = MISSING
    strength: float = MISSING


@dataclass
class DiversifyNode(MethodNode):
    n_outputs: int = MISSING
    anchor: str = MISSING
    perturbation: PerturbationNode = MISSING  # type: ignore[valid-type]
    loss: Any = MISSING
    refinement: Any = MISSING


@dataclass
class GuidedNode(MethodNode):
    path: Any = MISSING
    search: Any = MISSING
    batch_size: int = MISSING
    age_image: str = MISSING


@dataclass
class ModelNode:
    _target_: str = MISSING
    channels: str | None = None
    age_range: list[float] = MISSING
    anchor: str = MISSING


@dataclass
class EmbeddedNode(ModelNode):
    low_pass: bool = MISSING


@dataclass
class SamNode(ModelNode):
    sam: str = MISSING
    arcface: str = MISSING
    dex: str = MISSING
    alexnet: str | None = None
    perceptual: str = MISSING
    start: str = MISSING


@dataclass
class StyleGAN2Node(ModelNode):
    generator: str = MISSING
    judges: str = MISSING
    arcface: str = MISSING
    dex: str = MISSING
    alexnet: str | None = None
    perceptual: str = MISSING


@dataclass
class DataNode:
    kind: str = MISSING
    path: str | None = MISSING
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
    root: str = str(CHECKOUT)
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
class TableNode:
    columns: list[str] = MISSING
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
    prepare: PrepareSettingsNode = MISSING  # type: ignore[valid-type]
    hardware: HardwareNode = MISSING
    source: str = MISSING
    runs: Any = MISSING
    trust: list[str] = MISSING
    judges: str = MISSING
    cyclic: bool = MISSING
    batch_size: int = MISSING
    folder: FolderNode = MISSING  # type: ignore[valid-type]
    bootstrap: BootstrapNode = MISSING  # type: ignore[valid-type]
    table: TableNode = MISSING
    figures: FiguresNode = MISSING


@dataclass
class EditConfig(PrepareConfig):
    """Root of `python -m adfd`."""

    method: Any = MISSING
    loss: LossWeightsNode = MISSING  # type: ignore[valid-type]
    refine: RefinementNode = MISSING  # type: ignore[valid-type]
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
    photos_per_batch: int = MISSING
    render_batch_size: int = MISSING


def compat(published: Any, ours: Any, *, _root_: Container) -> Any:
    """`${compat:published,ours}` in `conf/`: a value of the published run, and what we take unless asked for that."""
    return published if OmegaConf.select(_root_, "reference_compat", default=False) else ours


def register() -> None:
    """Make the schemas known to Hydra under the names that `conf/` refers to."""
    OmegaConf.register_new_resolver("compat", compat, replace=True)
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
    store = ConfigStore.instance()
    store.store(name="edit_schema", node=EditConfig)
    store.store(name="prepare_schema", node=PrepareConfig)
    store.store(name="analyze_schema", node=AnalyzeConfig)
    store.store(name="evaluate_schema", node=EvaluateConfig)
    methods: dict[str, type] = {
        "transform": MethodNode,
        "style_mixing": StyleMixingNode,
        "reference_mixing": ReferenceMixingNode,
        "diversify": DiversifyNode,
        "guided": GuidedNode,
    }
    for name, schema in methods.items():
        store.store(group="schema/method", name=name, node=schema)
    for name, schema in {"embedded": EmbeddedNode, "sam": SamNode, "stylegan2": StyleGAN2Node}.items():
        store.store(group="schema/model", name=name, node=schema)
    analyses = {"correlation": CorrelationNode, "sensitivity": SensitivityNode, "intervention": InterventionNode}
    for name, schema in analyses.items():
        store.store(group="schema/analysis", name=name, node=schema)
