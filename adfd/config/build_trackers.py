"""Build the trackers of a stage from its config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from adfd.basics.errors import AdfdError
from adfd.config.build_shared import VIEWS, fabric, identity, in_sweep, plain
from adfd.runs import tracking
from adfd.runs.directory import config_hash, link_wandb

if TYPE_CHECKING:  # slow to import; an error in a key is to be shown before
    from adfd.models.networks import Networks


def check_logger(cfg: DictConfig) -> None:
    """Check the values of `logger`. Raises AdfdError naming the key, the value and the allowed values."""
    if cfg.logger.every_n_steps < 1:
        raise AdfdError(f"logger.every_n_steps must be at least 1, got {cfg.logger.every_n_steps}")
    if cfg.logger.mode not in tracking.MODES:
        raise AdfdError(f"logger.mode must be one of {', '.join(tracking.MODES)}, got {cfg.logger.mode}")


def trackers(cfg: DictConfig, directory: Path, group: str, stack: Networks) -> list[tracking.Tracker]:
    """The trackers enabled in `logger`, on the first rank; an empty list on the others.

    The option chosen in config group `group` is W&B's job type. Each tracker records the stack's channels file.
    """
    hydra, made = HydraConfig.get(), list[tracking.Tracker]()
    if fabric(cfg).global_rank > 0:
        return made
    if cfg.logger.csv:
        made.append(tracking.CsvTracker(directory))
    if cfg.logger.wandb:
        own = config_hash(identity(cfg))
        sweep_id = (Path(hydra.sweep.dir) / "sweep_id").read_text(encoding="utf-8") if in_sweep() else None
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
        if in_sweep():
            link_wandb(Path(hydra.sweep.dir))
    if made and stack.channels is not None:
        from adfd.stylespace.statistics import file_of

        for tracker in made:
            tracker.channels(stack.name, file_of(Path(cfg.model.channels), stack.name), made=False)
    return made
