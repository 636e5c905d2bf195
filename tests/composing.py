"""Hydra without the work that it repeats, for tests that run commands in this process."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf

from adfd.config.schema import CONF

find_mode, load = Hydra.get_mode, OmegaConf.load
MAY_SET_MODE = ("hydra.mode", "+hydra.mode", "experiment", "+experiment", "--config")


def patch(patched: pytest.MonkeyPatch) -> None:
    """Compose each command line once instead of twice, and parse each file of `conf/` once instead of every time.

    Hydra's first composition of a command line serves only to read `hydra.mode`, which experiments alone set.
    """
    patched.setattr(Hydra, "get_mode", _mode)
    patched.setattr(OmegaConf, "load", _load)


def _mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    return find_mode(hydra, config_name, overrides) if any(w.startswith(MAY_SET_MODE) for w in sys.argv) else None


def _load(file: Any) -> Any:
    path = Path(getattr(file, "name", file))
    return OmegaConf.create(_parsed(path)) if CONF in path.parents else load(file)


@cache
def _parsed(path: Path) -> Any:
    return OmegaConf.to_container(load(path))
