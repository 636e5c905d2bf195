"""Hydra without the work that it repeats, for tests that run commands in this process."""

from __future__ import annotations

import copy
import sys
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import omegaconf
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf

from adfd.config.schema import CONF

find_mode, load, compose = Hydra.get_mode, OmegaConf.load, ConfigLoaderImpl.load_configuration
composed: WeakKeyDictionary[ConfigLoaderImpl, dict[str, Any]] = WeakKeyDictionary()
MAY_SET_MODE = ("hydra.mode", "+hydra.mode", "experiment", "+experiment", "--config")


def patch(patched: pytest.MonkeyPatch) -> None:
    """Compose each command line and each job once, and parse each file of `conf/` and each interpolation once.

    Hydra's first composition of a command line serves only to read `hydra.mode`, which experiments alone set. A sweep
    composes a job first to see whether it can be composed, then to run it.
    """
    patched.setattr(Hydra, "get_mode", _mode)
    patched.setattr(OmegaConf, "load", _load)
    patched.setattr(ConfigLoaderImpl, "load_configuration", _compose)
    patched.setattr(omegaconf.base, "parse", cache(omegaconf.base.parse))


def _mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    return find_mode(hydra, config_name, overrides) if any(w.startswith(MAY_SET_MODE) for w in sys.argv) else None


def _load(file: Any) -> Any:
    path = Path(getattr(file, "name", file))
    return OmegaConf.create(_parsed(path)) if CONF in path.parents else load(file)


@cache
def _parsed(path: Path) -> Any:
    return OmegaConf.to_container(load(path))


def _compose(loader: ConfigLoaderImpl, *arguments: Any, **settings: Any) -> Any:
    known, asked = composed.setdefault(loader, {}), repr((arguments, settings))
    if asked not in known:
        known[asked] = compose(loader, *arguments, **settings)
    return copy.deepcopy(known[asked])
