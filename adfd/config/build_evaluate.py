"""Build the evaluation from its own config and from those of the runs to evaluate."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from adfd.basics.errors import AdfdError
from adfd.config.build_independent import independent
from adfd.config.build_shared import networks, pictures, plain, settings, told
from adfd.runs.directory import RunDirectory

if TYPE_CHECKING:
    from adfd.evaluation.foreign import Folder
    from adfd.evaluation.jobs import Record
    from adfd.evaluation.measuring import Measuring
    from adfd.models.networks import Networks
    from adfd.models.views import Views


def check(cfg: DictConfig) -> None:
    """Check values before any file is read. Raises AdfdError naming the key and the allowed values."""
    from adfd.evaluation.quantities import QUANTITIES

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
    """The value of `runs` as a list of paths."""
    return [Path(path) for path in ([cfg.runs] if isinstance(cfg.runs, str) else cfg.runs)]


def records(cfg: DictConfig, output: Path) -> list[Record]:
    """The runs to evaluate: those below `runs`, or a folder of pictures converted to one run in `output`."""
    from adfd.config.foreign_run import record
    from adfd.evaluation.foreign import score
    from adfd.evaluation.jobs import find_runs

    if cfg.source == "runs":
        return [record(path, Path(cfg.paths.root), list(cfg.trust)) for path in find_runs(run_paths(cfg))]
    chosen = plain(cfg)
    folder: Folder = settings(cfg.folder)
    run = RunDirectory(output, pictures(cfg), told(cfg))
    score(run, folder, settings(cfg.prepare), networks(cfg))
    return [record(output, Path(cfg.paths.root), [chosen["model"]["_target_"].partition(".")[0]])]


def measuring(cfg: DictConfig, run: Record) -> Measuring:
    """What is measured on a run's pictures, and by which judges. Networks are loaded at the first measurement."""
    from adfd.evaluation.measuring import Measuring
    from adfd.models.judges import judge_names

    model = run.model if cfg.judges == "run" else plain(cfg.model)
    cyclic = cfg.cyclic and "method" in run.config  # another program's pictures have no codes
    return Measuring(
        judges=partial(_stack, cfg, model, run.directory, channels=cyclic and model == run.model),
        names=judge_names(model),
        stack=partial(_stack, cfg, run.model, run.directory) if cyclic else None,
        own=judge_names(run.model),
        batch_size=cfg.batch_size,
        independent=independent(run, judge_names(model)["identity"], cfg.batch_size) if cfg.independent else None,
        views=views_of(run),
    )


def views_of(run: Record) -> Views:
    """The views in a run's config, for age networks that have no second reading; one view where it has none.

    Raises AdfdError where they are malformed.
    """
    from adfd.models.views import ONE_VIEW, Views

    told = run.config.get("views")
    if told is None:
        return ONE_VIEW
    try:
        return Views(bool(told["flip"]), int(told["shift"]), [float(zoom) for zoom in told["zooms"]], features=0)
    except (KeyError, TypeError, ValueError) as error:
        raise AdfdError(f"{run.directory}: views are not of the kind that a run writes, got {told!r:.80}") from error


def _stack(cfg: DictConfig, model: dict[str, Any], run: Path, channels: bool = True) -> Networks:
    """Load a stack without its draft.

    Raises AdfdError where it is not the user's `model` and its files lie outside trusted folders.
    """
    from adfd.config.foreign_run import check_files
    from adfd.config.schema import PACKAGE
    from adfd.models.weights import cache_folder

    if model != plain(cfg.model):
        ours = (PACKAGE, cache_folder(), cfg.paths.root, cfg.paths.output_dir, cfg.paths.channels_dir, *cfg.trust)
        check_files(model, run, [Path(place) for place in ours])
    without = ("draft",) if channels else ("draft", "channels")
    return networks(OmegaConf.create({"model": model, "hardware": plain(cfg.hardware)}), without)
