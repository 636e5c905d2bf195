"""Config to objects: the only place that instantiates. What is constant over the jobs of a sweep is built once."""

from __future__ import annotations

import csv
import json
import logging
import shlex
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import get_class, get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from adfd.analysis.shards import Shards
from adfd.basics.allocator import keep_freed_memory
from adfd.basics.errors import AdfdError
from adfd.evaluation.foreign import Folder, score
from adfd.faces.people import People, photographed_people, portrait, synthetic_people
from adfd.faces.photos import find_photos
from adfd.faces.prepared import write_table
from adfd.methods.anchors import Anchors, transformed_anchors
from adfd.methods.guided import Path as AgePath
from adfd.methods.guided import Search, guided_anchors
from adfd.methods.reference_mixing import check_strength, checked_layers, sams_layers
from adfd.models.judges import judge_names
from adfd.models.networks import REMEDY, Networks
from adfd.models.sources import Sources
from adfd.runs import tracking
from adfd.runs.animation import Animation
from adfd.runs.directory import RunDirectory, config_hash, read_summary
from adfd.runs.edit import Edit
from adfd.stylespace.statistics import Channels

if TYPE_CHECKING:  # slow to import, which a misspelt key should not wait for
    from lightning.fabric import Fabric

    from adfd.evaluation.jobs import Record
    from adfd.evaluation.measuring import Measuring

log = logging.getLogger(__name__)

VIEWS = ("logger", "paths", "sweep")
"""Parts of a config that no result depends on: who follows a run, where things lie, what becomes of earlier jobs."""


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A config as plain containers, resolved. Raises AdfdError naming the first key without a value."""
    try:
        return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[return-value]
    except Exception as error:
        key = getattr(error, "full_key", None)
        raise AdfdError(f"{key} has no value; set it with {key}=...") from error


def identity(cfg: DictConfig) -> dict[str, Any]:
    """What the results of a run depend on. Raises AdfdError naming the first key without a value."""
    return {key: value for key, value in plain(cfg).items() if key not in VIEWS}


def in_sweep() -> bool:
    return HydraConfig.get().mode == RunMode.MULTIRUN


def done(cfg: DictConfig, run: RunDirectory) -> bool:
    """Whether an earlier start finished all outputs, of all photos that are there now. Nothing is loaded for that."""
    summary = read_summary(run.path)
    if summary.get("status") != "finished" or summary.get("failures") or summary.get("outputs") != run.count():
        return False
    folders = {"photos*.csv": cfg.data.path, "references.csv": cfg.method.get("references")}
    for table, folder in folders.items():
        seen = {record["photo"] for file in run.path.glob(table) for record in csv.DictReader(file.open())}
        with suppress(AdfdError):  # photos that are gone by now were done with
            if folder and not {str(photo) for photo in find_photos(Path(folder))} <= seen:
                return False
    return True


def settings(node: Any) -> Any:
    """An instance from a config node, with the settings' own message where a value is impossible."""
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, AdfdError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        raise


def method(cfg: DictConfig) -> tuple[int, Callable]:
    """Outputs per photo, and the method as a function of (networks, anchors, z, on_step)."""
    n_outputs = cfg.method.get("n_outputs", 1)
    if n_outputs < 1:
        raise AdfdError(f"method.n_outputs must be at least 1, got {n_outputs}")
    if (anchor := cfg.method.get("anchor", "transform")) not in ("guided", "transform"):
        raise AdfdError(f"method.anchor must be guided or transform, got {anchor}")
    if "strength" in cfg.method:
        check_strength(cfg.method.strength)
    made_here = ("n_outputs", "anchor", "references", "layers")
    return n_outputs, settings({key: value for key, value in plain(cfg)["method"].items() if key not in made_here})


def animation(cfg: DictConfig) -> Animation:
    """How the outputs of a photo become moving pictures. Raises AdfdError where there is only one target age."""
    made: Animation = settings(cfg.animation)
    if made.formats and len(ages := target_ages(cfg)) < 2:
        raise AdfdError(f"animation needs at least two target ages, target_age is {ages[0]:g}; set target_age=[20,70]")
    return made


def edit(cfg: DictConfig, run: RunDirectory) -> Edit:
    """The main job. All settings are made, and so checked, before a network is loaded."""
    check(cfg)
    n_outputs, function = method(cfg)
    path, search = settings(cfg.path), settings(cfg.search)
    moving = animation(cfg)
    settings(cfg.prepare)
    if "references" in cfg.method:
        find_photos(Path(plain(cfg)["method"]["references"]))  # what is missing shows before minutes of inversion
    if (ranks := fabric(cfg)).is_global_zero:
        run.hold()
    stack = networks(cfg)
    if stack.transformer is None or ("perturbation" in cfg.method and stack.channels is None):
        raise AdfdError(f"model.channels has no value, and this method needs a channels file; {REMEDY}")
    if stack.channels is not None and stack.channels.gender_readout is None and cfg.accept.check:
        log.info("the channels file is without analysis=nature: styles are not screened, natural spread is unknown")
    persons = people(cfg)
    write_table(persons.faces, run.path / ("photos.csv" if ranks.is_global_zero else f"photos.{ranks.global_rank}.csv"))
    others = references(cfg)
    if others:
        write_table(others.faces, run.path / "references.csv")
        layers = cfg.method.layers if cfg.method.layers is not None else sams_layers(stack.space)
        function = partial(function, references=others.sources, layers=checked_layers(stack.space, layers))
        n_outputs = len(others.sources)
    return Edit(
        networks=stack,
        people=persons,
        anchors=lambda rows, age: _anchors(
            stack,
            persons.sources,
            rows.start,
            rows.stop,
            age,
            cfg.render_batch_size,
            cfg.age_image,
            (path, search) if cfg.method.get("anchor") == "guided" else None,
        ),
        method=function,
        method_name=HydraConfig.get().runtime.choices["method"],
        n_outputs=n_outputs,
        seed=cfg.seed,
        run=run,
        trackers=trackers(cfg, run.path, "method"),
        photos_per_batch=cfg.photos_per_batch,
        every_n_steps=cfg.logger.every_n_steps,
        precision=ranks.autocast,
        wait_for_ranks=ranks.barrier,
        first_rank=ranks.is_global_zero,
        animation=moving,
        references=others.sources.names if others else (),
    )


@lru_cache(maxsize=64)
def _anchors(
    stack: Networks,
    sources: Sources,
    first: int,
    last: int,
    age: float,
    batch_size: int,
    age_image: str,
    guidance: tuple[AgePath, Search] | None,
) -> Anchors:
    anchors = transformed_anchors(stack, sources[first:last], age, batch_size, age_image)
    return guided_anchors(stack, anchors, *guidance, batch_size, age_image) if guidance else anchors


def trackers(cfg: DictConfig, directory: Path, group: str) -> list[tracking.Tracker]:
    """The views that `logger` asks for; on the first rank alone. A run is of the kind that was chosen in `group`."""
    hydra, made = HydraConfig.get(), list[tracking.Tracker]()
    if fabric(cfg).global_rank > 0:
        return made
    if cfg.logger.csv:
        made.append(tracking.CsvTracker(directory))
    if cfg.logger.wandb:
        own = config_hash(identity(cfg))
        sweep_id = (Path(hydra.sweep.dir) / "sweep_id").read_text() if in_sweep() else None
        said = [override for override in hydra.overrides.task if not override.lstrip("+~").startswith(VIEWS)]
        made.append(
            tracking.WandbTracker(
                directory,
                plain(cfg) | {"config_hash": own, "sweep_id": sweep_id},
                id=config_hash({"config": own, "directory": str(directory)}),
                name=",".join(said) or hydra.runtime.choices[group],
                group=sweep_id,
                job_type=hydra.runtime.choices[group],
                **{
                    key: value
                    for key, value in plain(cfg.logger).items()
                    if key in ("project", "entity", "mode", "tags")
                },
            )
        )
    return made


def check(cfg: DictConfig) -> None:
    """Refuse impossible values of the root config. Raises AdfdError naming the key, the value and what is allowed."""
    for key in ("photos_per_batch", "render_batch_size"):
        if cfg[key] < 1:
            raise AdfdError(f"{key} must be at least 1, got {cfg[key]}")
    if cfg.logger.every_n_steps < 1:
        raise AdfdError(f"logger.every_n_steps must be at least 1, got {cfg.logger.every_n_steps}")
    if cfg.logger.mode not in tracking.MODES:
        raise AdfdError(f"logger.mode must be one of {', '.join(tracking.MODES)}, got {cfg.logger.mode}")
    if cfg.age_image not in ("pooled", "full"):
        raise AdfdError(f"age_image must be pooled or full, got {cfg.age_image}")
    if cfg.data.kind not in ("folder", "faces", "portrait"):
        raise AdfdError(f"data.kind must be folder, faces or portrait, got {cfg.data.kind}")


def target_ages(cfg: DictConfig) -> list[float]:
    """`target_age` as a list, in years. Raises AdfdError for what is no number or beyond the age estimator."""
    values = plain(cfg)["target_age"]
    values = values if isinstance(values, list) else [values]
    youngest, oldest = cfg.model.age_range
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise AdfdError(f"target_age must be a number of years or a list of them, got {value!r}")
        if not youngest <= value <= oldest:
            raise AdfdError(f"target_age must lie in the age estimator's {youngest:g}..{oldest:g} years, got {value:g}")
    if not values:
        raise AdfdError("target_age is an empty list; give at least one age")
    return list(dict.fromkeys(float(value) for value in values))


def fabric(cfg: DictConfig) -> Fabric:
    """Device, precision and ranks, launched."""
    return _fabric(json.dumps(plain(cfg.hardware), sort_keys=True))


@cache
def _fabric(hardware: str) -> Fabric:
    node = json.loads(hardware)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    try:
        made: Fabric = get_class(node.pop("_target_"))(**node)
        made.launch()
    except (RuntimeError, ValueError) as error:  # Lightning's MisconfigurationException is one of them
        raise AdfdError(f"hardware cannot be used here ({error}); try hardware=cpu") from error
    if made.device.type == "cpu":
        keep_freed_memory()
    return made


def networks(cfg: DictConfig, channels: bool = True) -> Networks:
    """The model stack on the hardware's device; loaded once. `channels=False` leaves its statistics out."""
    model = plain(cfg.model)
    target = model.pop("_target_")
    chosen = {key: value for key, value in model.items() if key not in ("age_range", "anchor", "anchor_identity")}
    chosen |= {} if channels else {"channels": None}
    made = _networks(target, json.dumps(chosen, sort_keys=True), fabric(cfg))
    views = OmegaConf.select(cfg, "views")
    return made if views is None else _asked(made, json.dumps(OmegaConf.to_container(views, resolve=True)))


@cache
def _asked(made: Networks, views: str) -> Networks:
    return made.asked(settings(json.loads(views)))


@cache
def _networks(target: str, settings: str, made: Fabric) -> Networks:
    log.info("loading %s", target)
    return made.to_device(get_method(target)(**json.loads(settings)))


def analysis(cfg: DictConfig) -> Any:
    """The analysis, a function of (networks, seed, shards) with its settings. Raises AdfdError on impossible ones."""
    return settings(cfg.analysis)


def compared(cfg: DictConfig, generator: str) -> Channels | None:
    """The channels file to set beside ours; None where `compare` names none. Raises AdfdError for another generator."""
    return None if cfg.compare is None else Channels.load(Path(cfg.compare), generator)


def shards(cfg: DictConfig, on_unit: Callable[[int], object]) -> Shards:
    """Where the analysis keeps its parts: in the run's folder, or in the sweep's, whose jobs share faces."""
    hydra = HydraConfig.get()
    folder = hydra.sweep.dir if hydra.mode == RunMode.MULTIRUN else hydra.runtime.output_dir
    chosen = plain(cfg)
    model = {key: value for key, value in chosen["model"].items() if key != "channels"}
    key = {"model": model, "seed": chosen["seed"], **settings(cfg.analysis).key}
    return Shards(Path(folder) / "shards", key, on_unit)


def people(cfg: DictConfig) -> People:
    """Whom to edit: photos aligned and inverted, or synthetic persons; made once in a process, this rank's share."""
    chosen = plain(cfg)
    parts = {key: chosen[key] for key in ("data", "prepare", "model", "paths")}
    settings(cfg.prepare)
    return _people(json.dumps(parts, sort_keys=True), networks(cfg), fabric(cfg))


def references(cfg: DictConfig) -> People | None:
    """The people whose layers a method mixes in, all of them on every rank; None where it mixes none."""
    if "references" not in cfg.method:
        return None
    parts = {key: plain(cfg)[key] for key in ("prepare", "model", "paths")}
    parts["data"] = {"kind": "folder", "path": cfg.method.references}
    return _people(json.dumps(parts, sort_keys=True), networks(cfg), None)


@cache
def _people(chosen: str, made: Networks, ranks: Fabric | None) -> People:
    parts = json.loads(chosen)
    share = slice(ranks.global_rank, None, ranks.world_size) if ranks else slice(None)
    data = parts["data"]
    if data["kind"] == "faces":
        return synthetic_people(made, data["seeds"][share], data["psi"])
    cache = Path(parts["paths"]["prepared_dir"])
    photos = [portrait(cache)] if data["kind"] == "portrait" else find_photos(Path(data["path"]))
    return photographed_people(made, photos, settings(parts["prepare"]), cache, share)


def check_evaluation(cfg: DictConfig) -> None:
    """Refuse impossible values before anything is read. Raises AdfdError naming the key and what is allowed."""
    from adfd.evaluation.metrics import QUANTITIES

    for key, allowed in {"source": ("runs", "folder"), "judges": ("run", "model")}.items():
        if cfg[key] not in allowed:
            raise AdfdError(f"{key} must be {' or '.join(allowed)}, got {cfg[key]}")
    for key in ("batch_size", "figures.sheet_photos", "figures.sheet_jobs"):
        if (value := OmegaConf.select(cfg, key)) < 1:
            raise AdfdError(f"{key} must be at least 1, got {value}")
    if cfg.source == "runs" and not cfg.runs:
        raise AdfdError("runs has no value; set it with runs=PATH, or runs=[PATH,PATH]")
    for pair in cfg.figures.trade_offs:
        if OmegaConf.is_list(pair) and len(pair) == 2:
            continue
        raise AdfdError(f"figures.trade_offs must be a list of pairs [x, y], got {pair}")
    named = {"table.columns": cfg.table.columns, "table.by_age": cfg.table.by_age}
    named["figures.trade_offs"] = [name for pair in cfg.figures.trade_offs for name in pair]
    for key, names in named.items():
        for name in names:
            if name not in QUANTITIES:
                raise AdfdError(f"{key} must name quantities of {', '.join(QUANTITIES)}, got {name}")
    settings(cfg.bootstrap)


def run_paths(cfg: DictConfig) -> list[Path]:
    """`runs` as paths."""
    return [Path(path) for path in ([cfg.runs] if isinstance(cfg.runs, str) else cfg.runs)]


def records(cfg: DictConfig, output: Path) -> list[Record]:
    """The runs to evaluate: those below `runs`, or one that a folder of pictures is made into, in `output`."""
    from adfd.evaluation.jobs import find_runs

    if cfg.source == "runs":
        return [record(path, Path(cfg.paths.root)) for path in find_runs(run_paths(cfg))]
    chosen = plain(cfg)
    folder: Folder = settings(cfg.folder)
    parts = {key: chosen[key] for key in ("folder", "prepare", "model")}
    score(RunDirectory(output, parts), folder, settings(cfg.prepare), networks(cfg, channels=False))
    return [record(output, Path(cfg.paths.root))]


def record(directory: Path, root: Path) -> Record:
    """What a run's `.hydra` folder tells. Files that its configuration names below its checkout are sought in ours."""
    from adfd.evaluation.jobs import Record

    files = [directory / ".hydra" / f"{name}.yaml" for name in ("config", "hydra", "overrides")]
    try:
        cfg, own, overrides = (cast(Any, OmegaConf.load(file)) for file in files)
        config, hydra = plain(cfg), own.hydra
        cfg.paths.root = str(root)
        model = plain(cfg)["model"]
        module = "adfd" if hydra.job.name == "edit" else f"adfd.{hydra.job.name}"
        single = ["hydra.mode=RUN"] if hydra.runtime.choices.get("experiment") else []
        method = hydra.runtime.choices.get("method") or settings(cfg.folder).method
    except AdfdError:
        raise
    except Exception as error:
        raise AdfdError(f"{directory}/.hydra is not readable ({type(error).__name__}); leave this run out") from error
    given = tuple(map(str, overrides))
    command = shlex.join(["python", "-m", module, *given, *single])
    return Record(directory, method, given, command, config, model)


def measuring(cfg: DictConfig, run: Record) -> Measuring:
    """How a run's pictures are measured: networks are loaded when something is."""
    from adfd.evaluation.measuring import Measuring

    model = run.model if cfg.judges == "run" else plain(cfg.model)
    cyclic = cfg.cyclic and "method" in run.config  # another program's pictures have no codes
    return Measuring(
        judges=partial(_stack, cfg, model, channels=cyclic and model == run.model),
        names=judge_names(model),
        stack=partial(_stack, cfg, run.model) if cyclic else None,
        own=judge_names(run.model),
        batch_size=cfg.batch_size,
    )


def _stack(cfg: DictConfig, model: dict[str, Any], channels: bool = True) -> Networks:
    return networks(OmegaConf.create({"model": model, "hardware": plain(cfg.hardware)}), channels)
