"""The evaluation from its config, and from the configs that the evaluated runs left."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from adfd.basics.errors import AdfdError
from adfd.config.build_shared import networks, plain, settings, told
from adfd.evaluation.foreign import Folder, score
from adfd.models.judges import judge_names
from adfd.models.networks import Networks
from adfd.runs.directory import RunDirectory

if TYPE_CHECKING:
    from adfd.evaluation.jobs import Record
    from adfd.evaluation.measuring import Measuring


def check(cfg: DictConfig) -> None:
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
    from adfd.config.foreign_run import record
    from adfd.evaluation.jobs import find_runs

    if cfg.source == "runs":
        return [record(path, Path(cfg.paths.root), list(cfg.trust)) for path in find_runs(run_paths(cfg))]
    chosen = plain(cfg)
    folder: Folder = settings(cfg.folder)
    parts = {key: chosen[key] for key in ("folder", "prepare", "model")}
    run = RunDirectory(output, parts, told(cfg))
    score(run, folder, settings(cfg.prepare), networks(cfg, channels=False))
    return [record(output, Path(cfg.paths.root), [chosen["model"]["_target_"].partition(".")[0]])]


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
