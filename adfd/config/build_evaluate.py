"""The evaluation from its own config and from those of the runs to evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from adfd.basics.errors import AdfdError
from adfd.config.build_shared import networks, pictures, plain, settings, told
from adfd.runs.directory import RunDirectory

if TYPE_CHECKING:
    from adfd.evaluation.foreign import Folder
    from adfd.evaluation.independent import Independent
    from adfd.evaluation.jobs import Job, Record
    from adfd.evaluation.measuring import Measuring
    from adfd.evaluation.panel import Panel
    from adfd.models.lpips_alex import LpipsAlex
    from adfd.models.networks import Networks


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
    """The runs to evaluate: those below `runs`, or a folder of pictures turned into one run, written to `output`."""
    from adfd.config.foreign_run import record
    from adfd.evaluation.foreign import score
    from adfd.evaluation.jobs import find_runs

    if cfg.source == "runs":
        return [record(path, Path(cfg.paths.root), list(cfg.trust)) for path in find_runs(run_paths(cfg))]
    chosen = plain(cfg)
    folder: Folder = settings(cfg.folder)
    run = RunDirectory(output, pictures(cfg), told(cfg))
    score(run, folder, settings(cfg.prepare), networks(cfg, channels=False))
    return [record(output, Path(cfg.paths.root), [chosen["model"]["_target_"].partition(".")[0]])]


def measuring(cfg: DictConfig, run: Record) -> Measuring:
    """How a run's pictures are measured. Networks are loaded at the first measurement."""
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
        independent=independent(cfg, judge_names(model)["identity"]) if cfg.independent else None,
    )


def independent(cfg: DictConfig, identity_judge: str) -> Independent:
    """The independent judges whose files are there; networks are loaded when a picture is read."""
    from adfd.evaluation import calibration
    from adfd.evaluation.independent import Independent
    from adfd.evaluation.panel import missing
    from adfd.models import fetch

    absent = (*missing(), *(() if fetch.ALEXNET.is_there() else ("LPIPS",)))
    known = calibration.shipped()
    return Independent(
        panel=None if set(absent) - {"LPIPS"} else _panel,
        lpips=None if "LPIPS" in absent else _lpips,
        calibration=known,
        batch_size=cfg.batch_size,
        missing=absent,
        in_loop_threshold=known.same_person_in_loop if identity_judge == "dlib face" else None,
    )


def natural_faces(cfg: DictConfig, jobs: Sequence[Job]) -> Job | None:
    """Unedited faces that the loop reads like the jobs' outputs; None where the panel or dlib read none of them."""
    from adfd.evaluation import calibration
    from adfd.evaluation.independent import natural_rows
    from adfd.evaluation.jobs import Job, estimates

    rows = [row for job in jobs for row in job.rows if row.get("panel_age") is not None]
    judges = next((job.judges for job in jobs), {})
    if not rows or not judges.get("age", "").startswith("dlib age"):
        return None
    made = natural_rows(calibration.shipped(), rows)
    bootstrap = settings(cfg.bootstrap)
    ages = sorted({row["target_age"] for row in made})
    return Job(
        directory=Path(),
        name="natural faces",
        method="natural faces",
        overrides=(),
        command="",
        config={},
        status="",
        reason="",
        rows=made,
        estimates=estimates(made, bootstrap),
        by_age={age: estimates([row for row in made if row["target_age"] == age], bootstrap) for age in ages},
        judges=dict(judges),
    )


@cache
def _panel() -> Panel:
    from adfd.evaluation.panel import load_panel

    return load_panel()


@cache
def _lpips() -> LpipsAlex:
    from adfd.models.lpips_alex import load_lpips

    return load_lpips()


def _stack(cfg: DictConfig, model: dict[str, Any], run: Path, channels: bool = True) -> Networks:
    """The stack of a run, whose files lie where the user said that they may; or the one that the user chose."""
    from adfd.config.foreign_run import check_files
    from adfd.config.schema import PACKAGE
    from adfd.models.weights import cache_folder

    if model != plain(cfg.model):
        ours = (PACKAGE, cache_folder(), cfg.paths.root, cfg.paths.output_dir, cfg.paths.channels_dir, *cfg.trust)
        check_files(model, run, [Path(place) for place in ours])
    return networks(OmegaConf.create({"model": model, "hardware": plain(cfg.hardware)}), channels)
