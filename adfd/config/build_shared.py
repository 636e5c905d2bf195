"""What the stages' builders share: settings, device, networks, trackers, and which keys identify a run.

What is constant over the jobs of a sweep is built once.
"""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import get_class, get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from adfd.basics.allocator import keep_freed_memory
from adfd.basics.errors import AdfdError
from adfd.runs import tracking
from adfd.runs.directory import config_hash, link_wandb

if TYPE_CHECKING:  # slow to import, which a misspelt key should not wait for
    from lightning.fabric import Fabric

    from adfd.models.networks import Networks

log = logging.getLogger(__name__)

VIEWS = ("logger", "paths", "sweep")
"""Parts of a config that no result depends on: who follows a run, where things lie, what becomes of earlier jobs."""
OURS = ("probe", "compile", "tf32")
"""Keys of `hardware` that are not Lightning's."""


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A config as plain containers, resolved. Raises AdfdError naming the first key without a value."""
    try:
        return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[return-value]
    except Exception as error:
        key = getattr(error, "full_key", None)
        raise AdfdError(f"{key} has no value; set it with {key}=...") from error


def identity(cfg: DictConfig) -> dict[str, Any]:
    """The part of a config that the results depend on. Raises AdfdError naming the first key without a value."""
    return {key: value for key, value in plain(cfg).items() if key not in VIEWS}


def told(cfg: DictConfig) -> dict[str, Any]:
    """The record that a run directory keeps: stage, method, overrides and the config, resolved for its readers."""
    hydra = HydraConfig.get()
    return {
        "stage": hydra.job.name,
        "method": hydra.runtime.choices.get("method"),
        "experiment": hydra.runtime.choices.get("experiment"),
        "overrides": list(hydra.overrides.task),
        "config": plain(cfg),
    }


def in_sweep() -> bool:
    return HydraConfig.get().mode == RunMode.MULTIRUN


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


def fabric(cfg: DictConfig) -> Fabric:
    """Device, precision and ranks, launched."""
    return _fabric(json.dumps(plain(cfg.hardware), sort_keys=True))


@cache
def _fabric(hardware: str) -> Fabric:
    node = json.loads(hardware)
    for key in OURS:
        node.pop(key, None)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    try:
        made: Fabric = get_class(node.pop("_target_"))(**node)
        made.launch()
    except (RuntimeError, ValueError) as error:  # Lightning's MisconfigurationException is one of them
        raise AdfdError(f"hardware cannot be used here ({error}); try hardware=cpu") from error
    if made.device.type == "cpu":
        keep_freed_memory()
    from adfd.basics.batching import round_to_tf32  # torch is slow to import

    round_to_tf32(json.loads(hardware).get("tf32", False))
    return made


def networks(cfg: DictConfig, channels: bool = True) -> Networks:
    """The model stack on the hardware's device; loaded once. `channels=False` leaves its statistics out."""
    model = plain(cfg.model)
    target = model.pop("_target_")
    chosen = {key: value for key, value in model.items() if key not in ("age_range", "anchor", "anchor_identity")}
    chosen |= {} if channels else {"channels": None}
    made = _networks(target, json.dumps(chosen, sort_keys=True), fabric(cfg), bool(cfg.hardware.get("compile")))
    views = OmegaConf.select(cfg, "views")
    return made if views is None else _asked(made, json.dumps(plain(views)))


@cache
def _asked(made: Networks, views: str) -> Networks:
    return made.asked(settings(json.loads(views)))


@cache
def _networks(target: str, settings: str, made: Fabric, compiled: bool) -> Networks:
    log.info("loading %s", target)
    stack: Networks = made.to_device(get_method(target)(**json.loads(settings)))
    if compiled:
        from adfd.models.compiled import compile_generator

        log.info("compiling the generator: a minute, less where an earlier run has kept it")
        compile_generator(stack)
    return stack


def check_logger(cfg: DictConfig) -> None:
    """Refuse impossible values of `logger`. Raises AdfdError naming the key, the value and what is allowed."""
    if cfg.logger.every_n_steps < 1:
        raise AdfdError(f"logger.every_n_steps must be at least 1, got {cfg.logger.every_n_steps}")
    if cfg.logger.mode not in tracking.MODES:
        raise AdfdError(f"logger.mode must be one of {', '.join(tracking.MODES)}, got {cfg.logger.mode}")


def trackers(cfg: DictConfig, directory: Path, group: str, stack: Networks) -> list[tracking.Tracker]:
    """The trackers that `logger` asks for, on the first rank only. The choice in config group `group` is the job type.

    Each records which channels file the stack has.
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
