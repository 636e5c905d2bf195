"""Checks of the main job's config before it starts, and its target ages."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from adfd.basics.errors import AdfdError
from adfd.config.build_shared import plain
from adfd.config.build_trackers import check_logger

if TYPE_CHECKING:
    from adfd.models.networks import Networks

log = logging.getLogger(__name__)


def check(cfg: DictConfig) -> None:
    """Check the values of the root config. Raises AdfdError naming the key, the value and the allowed values."""
    for key in ("photos_per_batch", "render_batch_size"):
        if cfg[key] < 1:
            raise AdfdError(f"{key} must be at least 1, got {cfg[key]}")
    check_logger(cfg)
    if cfg.age_image not in ("pooled", "full"):
        raise AdfdError(f"age_image must be pooled or full, got {cfg.age_image}")
    if not math.isfinite(cfg.data.psi):
        raise AdfdError(f"data.psi must be a finite number, got {cfg.data.psi}")
    if cfg.data.kind not in ("folder", "faces", "portrait"):
        raise AdfdError(f"data.kind must be folder, faces or portrait, got {cfg.data.kind}")
    if cfg.paste and cfg.data.kind == "faces":
        raise AdfdError("paste=true needs photos to paste into, data.kind is faces; set data=folder data.path=PHOTOS")


def target_ages(cfg: DictConfig) -> list[float]:
    """`target_age` as a list, in years. Raises AdfdError for values that are no numbers or out of the model's range."""
    values = plain(cfg)["target_age"]
    values = values if isinstance(values, list) else [values]
    if len(cfg.model.age_range) != 2:
        raise AdfdError(f"model.age_range must be the youngest and the oldest age, got {cfg.model.age_range}")
    youngest, oldest = cfg.model.age_range
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise AdfdError(f"target_age must be a number of years or a list of them, got {value!r}")
        if not youngest <= value <= oldest:
            raise AdfdError(f"target_age must lie in the age estimator's {youngest:g}..{oldest:g} years, got {value:g}")
    if not values:
        raise AdfdError("target_age is an empty list; give at least one age")
    return list(dict.fromkeys(float(value) for value in values))


def tell_missing(cfg: DictConfig, stack: Networks) -> None:
    """Log which settings have no effect since the channels file lacks the results of analysis=nature."""
    if stack.channels is not None and stack.channels.gender_readout is None and cfg.accept.check:
        log.info("the channels file lacks analysis=nature: gender and natural spread of samples are not checked")
    if cfg.views.features and not stack.reads_features:
        told = "the channels file has no linear model of age for %s (analysis=nature): ages are the age network's alone"
        log.info(told, stack.perceptual.name)
