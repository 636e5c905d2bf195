"""Common parts of the builders: settings, device, networks, and the keys that identify a run.

Objects that are the same for all jobs of a sweep are built once per process.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import get_class, get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from adfd.basics.allocator import keep_freed_memory
from adfd.basics.errors import AdfdError

if TYPE_CHECKING:  # slow to import; an error in a key is to be shown before
    from lightning.fabric import Fabric

    from adfd.models.networks import Networks

log = logging.getLogger(__name__)

VIEWS = ("logger", "paths", "sweep", "paste")
"""Parts of a config that do not affect results: trackers, paths, resumption of sweeps, pasting."""
STACK: dict[str, Any] = {"age_range": list[float], "anchor": str, "anchor_identity": float, "channel_weights": str}
"""Keys of every model stack that its loader does not take, with their types."""
OURS = ("probe", "compile", "tf32")
"""Keys of `hardware` that are not Lightning's."""


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A config as resolved plain containers. Raises AdfdError naming the first key without a value."""
    try:
        return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[return-value]
    except Exception as error:
        key = getattr(error, "full_key", None)
        raise AdfdError(f"{key} has no value; set it with {key}=...") from error


def identity(cfg: DictConfig) -> dict[str, Any]:
    """The part of a config that the results depend on. Raises AdfdError naming the first key without a value."""
    return {key: value for key, value in plain(cfg).items() if key not in VIEWS}


def pictures(cfg: DictConfig) -> dict[str, Any]:
    """The part of an evaluation's config that the readings of a folder of pictures depend on."""
    return {key: plain(cfg[key]) for key in ("folder", "prepare", "model")}


def told(cfg: DictConfig) -> dict[str, Any]:
    """The content of a run's `config.json`: stage, method, experiment, overrides and the resolved config."""
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
    """Instantiate a config node. Raises the settings class's own AdfdError where a value is impossible."""
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, AdfdError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        if str(error).startswith("Error locating target"):
            raise AdfdError(f"{node['_target_']} is nothing that can be loaded ({error.__cause__!r:.200})") from error
        raise


def fabric(cfg: DictConfig) -> Fabric:
    """The launched Fabric, which provides device, precision and ranks. Raises AdfdError where it cannot be made."""
    return _fabric(json.dumps(plain(cfg.hardware), sort_keys=True))


@cache
def _fabric(hardware: str) -> Fabric:
    node = json.loads(hardware)
    ours = {key: node.pop(key, None) for key in OURS}
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    try:
        made: Fabric = get_class(node.pop("_target_"))(**node)
        made.launch()
    except (RuntimeError, ValueError) as error:  # Lightning's MisconfigurationException is one of them
        raise AdfdError(f"hardware cannot be used here ({error}); try hardware=cpu") from error
    if made.device.type == "cpu":
        keep_freed_memory()
    from adfd.basics.batching import round_to_tf32  # torch is slow to import

    round_to_tf32(bool(ours["tf32"]))
    return made


def networks(cfg: DictConfig, without: Sequence[str] = ()) -> Networks:
    """The model stack on the hardware's device, cached in the process; `without` channel statistics or draft."""
    model = plain(cfg.model)
    target = model.pop("_target_")
    chosen = {key: value for key, value in model.items() if key not in STACK}
    chosen |= {key: None for key in without if key in chosen}
    made = _networks(target, json.dumps(chosen, sort_keys=True), fabric(cfg), bool(cfg.hardware.get("compile")))
    views = OmegaConf.select(cfg, "views")
    return made if views is None else _with_views(made, json.dumps(plain(views)))


@cache
def _with_views(made: Networks, views: str) -> Networks:
    return made.with_views(settings(json.loads(views)))


@cache
def _networks(target: str, settings: str, made: Fabric, compiled: bool) -> Networks:
    log.info("loading %s", target)
    try:
        load = get_method(target)
    except (ImportError, ValueError) as error:
        raise AdfdError(f"model._target_ {target} is nothing that can be loaded ({type(error).__name__})") from error
    stack: Networks = made.to_device(load(**json.loads(settings)))
    if compiled:
        from adfd.models.compiled import compile_generator

        log.info("compiling the generator: takes a minute, less if cached by an earlier run")
        compile_generator(stack)
    return stack
