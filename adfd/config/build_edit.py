"""Build the main job from its config."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from adfd.basics.errors import AdfdError
from adfd.basics.files import cell
from adfd.config.build_prepare import people, references
from adfd.config.build_shared import fabric, networks, plain, settings
from adfd.config.build_trackers import trackers
from adfd.config.check_edit import check, target_ages, tell_missing
from adfd.faces.photos import find_photos
from adfd.faces.prepared import write_table
from adfd.methods.anchors import Anchors, transformed_anchors
from adfd.methods.guided import Path as AgePath
from adfd.methods.guided import Search, guided_anchors
from adfd.methods.probe import probed_batch_size
from adfd.methods.reference_mixing import check_strength, checked_layers, sams_layers
from adfd.models.networks import REMEDY, Networks
from adfd.models.sources import Sources
from adfd.runs.animation import Animation
from adfd.runs.background import Background
from adfd.runs.directory import RunDirectory, read_summary
from adfd.runs.edit import Edit
from adfd.runs.making import Making
from adfd.runs.pasting import Pasting
from adfd.runs.ranks import Ranks
from adfd.runs.showing import Showing

log = logging.getLogger(__name__)


def done(cfg: DictConfig, run: RunDirectory) -> bool:
    """True where an earlier start finished every output of every photo that is in the folder now. Loads no network."""
    summary = read_summary(run.path)
    if summary.get("status") != "finished" or summary.get("failures") or summary.get("outputs") != run.count():
        return False
    if cfg.paste and cfg.data.kind != "faces" and any(row.get("pasted") is None for row in run.rows):
        return False
    chosen = cfg.data.recursive, cfg.data.pattern
    folders = {"photos*.csv": (cfg.data.path, *chosen), "references.csv": (cfg.method.get("references"),)}
    for table, (folder, *how) in folders.items():
        files = [file.open(encoding="utf-8", newline="") for file in run.path.glob(table)]
        seen = {record["photo"] for file in files for record in csv.DictReader(file)}
        with suppress(AdfdError):  # the photos may have been removed since
            if folder and not {cell(str(photo)) for photo in find_photos(Path(folder), *how)} <= seen:
                return False
    return True


def edit(cfg: DictConfig, run: RunDirectory) -> Edit:
    """Build the main job. All settings are constructed, and thereby checked, before any network is loaded."""
    check(cfg)
    n_outputs, function = method(cfg)
    path, search = settings(cfg.path), settings(cfg.search)
    moving = animation(cfg)
    settings(cfg.prepare)
    if "references" in cfg.method:
        find_photos(Path(plain(cfg)["method"]["references"]))  # raises before the inversion, which takes minutes
    if (ranks := fabric(cfg)).is_global_zero:
        run.hold()
    stack = networks(cfg)
    if stack.transformer is None or ("perturbation" in cfg.method and stack.channels is None):
        raise AdfdError(f"model.channels has no value, and this method needs a channels file; {REMEDY}")
    tell_missing(cfg, stack)
    persons = people(cfg)
    write_table(persons.faces, run.path / ("photos.csv" if ranks.is_global_zero else f"photos.{ranks.global_rank}.csv"))
    others = references(cfg)
    if others:
        write_table(others.faces, run.path / "references.csv")
        layers = cfg.method.layers if cfg.method.layers is not None else sams_layers(stack.space)
        function = partial(function, references=others.sources, layers=checked_layers(stack.space, layers))
        n_outputs = len(others.sources)
    guidance = (path, search) if cfg.method.get("anchor") == "guided" else None
    n_rendered = cfg.render_batch_size
    if cfg.hardware.probe:
        first = transformed_anchors(stack, persons.sources[:1], target_ages(cfg)[0], 1, cfg.age_image)
        n_rendered = probed_batch_size(stack, first, settings(cfg.loss))
        log.info("probed batch size: %d samples; hardware.probe=false uses the configured batch sizes", n_rendered)
        function = in_batches(function, n_rendered)
    anchors = partial(_anchors, stack, persons.sources, guidance, n_rendered, cfg.age_image)
    name, names = HydraConfig.get().runtime.choices["method"], others.sources.names if others else ()
    making = Making(stack, anchors, function, name, n_outputs, cfg.seed, names)
    background = Background()
    kept = trackers(cfg, run.path, "method", stack)
    showing = Showing(making, run, kept, cfg.logger.every_n_steps, moving, background)
    own = Ranks(ranks.is_global_zero, ranks.barrier, ranks.autocast)
    pasting = Pasting(persons, run) if cfg.paste else None
    return Edit(persons, making, run, showing, own, cfg.photos_per_batch, background, pasting)


@lru_cache(maxsize=64)
def _anchors(
    stack: Networks,
    sources: Sources,
    guidance: tuple[AgePath, Search] | None,
    batch_size: int,
    age_image: str,
    first: int,
    stop: int,
    age: float,
) -> Anchors:
    """Anchors of `sources[first:stop]` at an age in years; with `guidance` moved along the age path to that age."""
    anchors = transformed_anchors(stack, sources[first:stop], age, batch_size, age_image)
    return guided_anchors(stack, anchors, *guidance, batch_size, age_image) if guidance else anchors


def method(cfg: DictConfig) -> tuple[int, Callable]:
    """Number of outputs per photo, and the method as a function of (networks, anchors, draws, on_step)."""
    n_outputs = cfg.method.get("n_outputs", 1)
    if n_outputs < 1:
        raise AdfdError(f"method.n_outputs must be at least 1, got {n_outputs}")
    if (anchor := cfg.method.get("anchor", "transform")) not in ("guided", "transform"):
        raise AdfdError(f"method.anchor must be guided or transform, got {anchor}")
    if not math.isfinite(cfg.method.get("psi", 0)):
        raise AdfdError(f"method.psi must be a finite number, got {cfg.method.psi}")
    if "strength" in cfg.method:
        check_strength(cfg.method.strength)
    made_here = ("n_outputs", "anchor", "references", "layers")
    return n_outputs, settings({key: value for key, value in plain(cfg)["method"].items() if key not in made_here})


def in_batches(function: Callable, size: int) -> Callable:
    """The method with its batch sizes of rendering and refinement, where it has them, set to `size`."""
    given = getattr(function, "keywords", {})
    changes: dict[str, Any] = {"batch_size": size} if "batch_size" in given else {}
    if "refinement" in given:
        changes["refinement"] = replace(given["refinement"], batch_size=size)
    return partial(function, **changes)


def animation(cfg: DictConfig) -> Animation:
    """The settings of animations. Raises AdfdError where they are on and there is only one target age."""
    made: Animation = settings(cfg.animation)
    if made.formats and len(ages := target_ages(cfg)) < 2:
        raise AdfdError(f"animation needs at least two target ages, target_age is {ages[0]:g}; set target_age=[20,70]")
    return made
