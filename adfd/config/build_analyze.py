"""Build the channel analysis from its config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from adfd.config.build_shared import in_sweep, plain, settings

if TYPE_CHECKING:
    from adfd.analysis.shards import Shards
    from adfd.stylespace.statistics import Channels


def analysis(cfg: DictConfig) -> Any:
    """The analysis, a function of (networks, seed, shards). Raises AdfdError for impossible settings."""
    return settings(cfg.analysis)


def compared(cfg: DictConfig, generator: str) -> Channels | None:
    """The channel statistics in the file `compare`, or None. Raises AdfdError where they are of another generator."""
    from adfd.stylespace.statistics import Channels

    return None if cfg.compare is None else Channels.load(Path(cfg.compare), generator)


def shards(cfg: DictConfig, on_unit: Callable[[int], object]) -> Shards:
    """The analysis's shards: in the run's folder; in a sweep in the sweep's folder, since its jobs share faces."""
    from adfd.analysis.shards import Shards

    hydra = HydraConfig.get()
    folder = hydra.sweep.dir if in_sweep() else hydra.runtime.output_dir
    chosen = plain(cfg)
    model = {key: value for key, value in chosen["model"].items() if key != "channels"}
    key = {"model": model, "seed": chosen["seed"], **settings(cfg.analysis).key}
    return Shards(Path(folder) / "shards", key, on_unit)
