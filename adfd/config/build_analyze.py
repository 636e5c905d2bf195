"""The channel analysis from its config."""

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
    """The analysis, a function of (networks, seed, shards) with its settings. Raises AdfdError on impossible ones."""
    return settings(cfg.analysis)


def compared(cfg: DictConfig, generator: str) -> Channels | None:
    """The channels that `compare` names, shown beside ours, or None. Raises AdfdError for another generator."""
    from adfd.stylespace.statistics import Channels

    return None if cfg.compare is None else Channels.load(Path(cfg.compare), generator)


def shards(cfg: DictConfig, on_unit: Callable[[int], object]) -> Shards:
    """Where the analysis keeps its parts: in the run's folder, or in the sweep's, whose jobs share faces."""
    from adfd.analysis.shards import Shards

    hydra = HydraConfig.get()
    folder = hydra.sweep.dir if in_sweep() else hydra.runtime.output_dir
    chosen = plain(cfg)
    model = {key: value for key, value in chosen["model"].items() if key != "channels"}
    key = {"model": model, "seed": chosen["seed"], **settings(cfg.analysis).key}
    return Shards(Path(folder) / "shards", key, on_unit)
