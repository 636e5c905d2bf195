"""Read the record of a run directory of unknown origin; nothing that it names is instantiated, resolved or opened."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.utils import get_method
from omegaconf import OmegaConf

from adfd import models
from adfd.basics.errors import AdfdError
from adfd.config.build_shared import STACK, plain
from adfd.config.schema import PACKAGE
from adfd.evaluation.jobs import LOSS_TERMS, Record, steering
from adfd.runs.directory import CONFIG

MAX_BYTES = 2**22
"""Largest configuration file that is read: a hundred times the usual size."""
STACKS = tuple(f"adfd.models.{name}" for name in models.__all__ if name.startswith("load_"))
"""Allowed values of a run's `model._target_`."""
FILES = ("channels", "draft", "sam", "arcface", "dex", "alexnet", "generator")
"""Settings of a stack that are paths of files to open."""
INTERPOLATION = re.compile(r"\$\{(?:[\w./-]|\[\w+\])+\}|\$\{compat:[\w.,\[\] -]+\}")
"""Interpolations that are resolved: references within the configuration, and our resolver `compat`."""


def record(directory: Path, root: Path, trust: Sequence[str] = ()) -> Record:
    """The record of a run. Paths below the checkout in which it was made are mapped to ours, `root`.

    Raises AdfdError naming file, key and value where the record is malformed, or names a model stack that is neither
    ours nor in a package listed in `trust`.
    """
    file = directory / (CONFIG if (directory / CONFIG).exists() else ".hydra/config.yaml")
    try:
        told = _kept(file) if file.name == CONFIG else _hydras(directory)
        config, overrides = told["config"], tuple(map(str, told["overrides"]))
        paths = config["paths"]
        model = _moved(config["model"], str(paths.get("package", Path(paths["root"]) / "adfd")), str(PACKAGE))
        model = _moved(model, str(paths["root"]), str(root))
        stage, folder = str(told["stage"]), config.get("folder") or {}
        method = told.get("method") or folder.get("name") or Path(folder["path"]).resolve().name
        for judge in LOSS_TERMS:
            steering(judge, config)
        single = ["hydra.mode=RUN"] if told.get("experiment") else []
    except AdfdError:
        raise
    except Exception as error:
        raise AdfdError(f"{file} is not readable ({type(error).__name__}); leave this run out") from error
    check_model(model, file, trust)
    command = shlex.join(["python", "-m", "adfd" if stage == "edit" else f"adfd.{stage}", *overrides, *single])
    return Record(directory, str(method), overrides, command, config, model)


def check_model(model: dict[str, Any], file: Path, trust: Sequence[str]) -> None:
    """Raise AdfdError where a stack is neither ours nor of a trusted package, or has unknown settings."""
    target = model.get("_target_")
    trusted = isinstance(target, str) and any(target.startswith(f"{package}.") for package in trust)
    if target not in STACKS and not trusted:
        raise AdfdError(
            f"{file}: model._target_ must be one of {', '.join(STACKS)}, got {target!r}; "
            "a stack of your own is read with trust=[PACKAGE]"
        )
    if trusted:
        return
    known = {*inspect.signature(get_method(str(target))).parameters, *STACK, "_target_"}
    for key, value in model.items():
        if key not in known or (key != "age_range" and not isinstance(value, str | int | float | None)):
            raise AdfdError(f"{file}: model.{key} is nothing that {target} takes, got {value!r}")


def check_files(model: dict[str, Any], run: Path, places: Sequence[Path]) -> None:
    """Check that a stack's files lie in its run's folder or in one of `places`, since a run may name any file.

    Raises AdfdError naming the run, the key, the file and the remedy.
    """
    roots = [place.resolve() for place in (run, *places)]
    for key in FILES:
        file = Path(str(model.get(key) or run)).expanduser()
        if not any(file.resolve().is_relative_to(root) for root in roots):
            raise AdfdError(
                f"{run}: model.{key} names {str(file)!r}, which lies outside this checkout, its outputs, the cache and "
                f"the run; trust=[{file.parent}] lets it be opened"
            )


def _kept(file: Path) -> dict[str, Any]:
    """The record in a run's `config.json`, whose config is resolved."""
    return json.loads(_text(file))


def _hydras(directory: Path) -> dict[str, Any]:
    """The record from Hydra's files, for runs without `config.json`."""
    cfg, hydra, overrides = (_yaml(directory / ".hydra" / f"{name}.yaml") for name in ("config", "hydra", "overrides"))
    for key, value in _strings(cfg):
        if "${" in INTERPOLATION.sub("", value):
            raise AdfdError(
                f"{directory}/.hydra/config.yaml: {key} may not look outside the file, got {value!r}; "
                "leave this run out"
            )
    try:
        config = plain(OmegaConf.create(cfg))
    except AdfdError as error:
        reason = str(error).partition(";")[0]
        raise AdfdError(f"{directory}/.hydra/config.yaml: {reason}; leave this run out") from error
    choices = hydra["hydra"]["runtime"]["choices"]
    return {
        "stage": hydra["hydra"]["job"]["name"],
        "method": choices.get("method"),
        "experiment": choices.get("experiment"),
        "overrides": overrides,
        "config": config,
    }


def _yaml(file: Path) -> Any:
    text = _text(file)
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):  # nested aliases can expand to gigabytes
        raise AdfdError(f"{file} holds aliases, which no run writes; leave this run out")
    return yaml.safe_load(text)


def _text(file: Path) -> str:
    if file.is_symlink() or file.parent.is_symlink():
        raise AdfdError(f"{file} is a link; leave this run out")
    if (size := file.stat().st_size) > MAX_BYTES:
        raise AdfdError(f"{file} has {size} bytes, more than any configuration; leave this run out")
    return file.read_text(encoding="utf-8")


def _strings(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All strings of a configuration, including keys, as (dotted key, string)."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield key, str(name)
            yield from _strings(value, f"{key}.{name}".lstrip("."))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _strings(value, f"{key}[{i}]")
    elif isinstance(node, str):
        yield key, node


def _moved(model: dict[str, Any], theirs: str, ours: str) -> dict[str, Any]:
    """A stack's settings, with paths below the checkout `theirs` mapped to the checkout `ours`."""
    return {
        key: ours + value.removeprefix(theirs) if isinstance(value, str) and value.startswith(f"{theirs}/") else value
        for key, value in model.items()
    }
