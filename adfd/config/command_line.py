"""Errors in a command line, reported on one line: unknown keys, deleted keys, values of a wrong type."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from difflib import SequenceMatcher
from functools import cache, wraps
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from adfd.basics.errors import INTERRUPTED, AdfdError
from adfd.basics.files import one_line
from adfd.config.schema import CONF
from adfd.runs import stage as stage_end

Result = TypeVar("Result")
UNKNOWN = re.compile(r"Could not (?:override|append to config|delete from config)\W+'?(?P<key>[\w.]+)'")
"""Hydra's messages for a key that does not exist."""
REFERENCE = re.compile(r"\$\{\.*([\w.]+)\}")
FULL = "HYDRA_FULL_ERROR"


def entry(stage: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a stage's `main`: an error in the command line or in a file prints one line, with exit code 1.

    With HYDRA_FULL_ERROR=1 it gives a traceback instead, as defects of the program always do.
    """

    def decorate(main: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(main)
        def told(*passed: DictConfig) -> Any:
            if passed or stage_end.TRACED:
                return main(*passed)
            os.environ[FULL] = "1"  # makes Hydra raise errors instead of printing them itself
            try:
                return main()
            except KeyboardInterrupt:
                print("interrupted before anything was done", file=sys.stderr)
                sys.exit(INTERRUPTED)
            except Exception as error:
                if any(frame.name == "run_job" for frame in traceback.extract_tb(error.__traceback__)):
                    raise  # a defect of the program: the job handles the user's errors itself
                print(f"error: {in_a_line(error, stage, sys.argv[1:])}", file=sys.stderr)
                sys.exit(1)
            finally:
                os.environ.pop(FULL, None)

        return told

    return decorate


def checked(job: Callable[[DictConfig], Result]) -> Callable[[DictConfig], Result]:
    """Decorator of a stage's job that checks the config's keys first."""

    @wraps(job)
    def with_known_keys(cfg: DictConfig) -> Result:
        check_keys(cfg)
        return job(cfg)

    return with_known_keys


def check_keys(cfg: DictConfig) -> None:
    """Raise AdfdError where an unknown key was added, or a key of the schema was deleted.

    Added keys are permitted where an interpolation refers to them, and in nodes whose `_target_` is not in adfd.
    """
    referred = REFERENCE.findall(OmegaConf.to_yaml(cfg))
    for at, node in _nodes(cfg):
        if not is_dataclass(kind := OmegaConf.get_type(node)):
            continue
        known = {field.name for field in fields(kind)}
        for name in known - set(node):
            key = _joined(at, name)
            raise AdfdError(gone(key))
        ours = str(node.get("_target_", "adfd.")).startswith("adfd.")
        for name in sorted(set(node) - known, key=str) if ours else ():
            key = _joined(at, name)
            if not any(f"{word}.".startswith((f"{key}.", f"{name}.")) for word in referred):
                raise AdfdError(unknown(key, [other for other in keys(cfg) if not f"{other}.".startswith(f"{key}.")]))


def keys(cfg: DictConfig) -> list[str]:
    """All keys of a config, dotted."""
    return [_joined(at, name) for at, node in _nodes(cfg) for name in node]


def _nodes(node: DictConfig, at: str = "") -> Iterator[tuple[str, DictConfig]]:
    yield at, node
    for name in node:
        if OmegaConf.is_missing(node, name) or OmegaConf.is_interpolation(node, str(name)):
            continue
        if isinstance(child := node[name], DictConfig):
            yield from _nodes(child, _joined(at, name))


def _joined(at: str, name: Any) -> str:
    return f"{at}.{name}".lstrip(".")


def _alike(key: str, other: str) -> float:
    """Similarity of two keys, 0..1: of the whole keys or, weighted less, of their last parts."""
    last = SequenceMatcher(None, key.split(".")[-1], other.split(".")[-1]).ratio()
    return max(SequenceMatcher(None, key, other).ratio(), 0.9 * last)


def gone(key: str) -> str:
    """The message for a key of the schema that was deleted by `~key`."""
    return f"{key} was taken away by ~{key}, and nothing works without it; leave ~{key} out"


def unknown(key: str, known: Iterable[str]) -> str:
    """The message for an unknown key, with the most similar of the `known` keys."""
    nearest = max(known, key=lambda other: _alike(key, other))
    return f"nothing reads {key}; the nearest key is {nearest}, and --help lists them all"


def in_a_line(error: BaseException, stage: str, arguments: Sequence[str] = ()) -> str:
    """An error's message as one line; for an unknown key with the most similar known one."""
    if isinstance(error, AdfdError):
        return str(error)
    text = str(error).partition("Config search path")[0].partition("full_key:")[0].partition("See http")[0]
    cause = error.__cause__
    if within := re.search(r"(?s)^(In '[\w/]+': ).*Key '(\w+)' (?:is )?not in '\w+'", text):
        return within[1] + unknown(within[2], default_keys(stage, arguments))
    if named := UNKNOWN.search(text):
        there = default_keys(stage, arguments)
        if named["key"] not in there:
            return unknown(named["key"], there)
        if "delete" in text and "value of" not in text:
            return gone(named["key"])
    if taken := re.search(r"Error merging override ~([\w.]+)", text):
        return gone(taken[1])
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        text += f" ({str(cause).splitlines()[0]})"
    return " ".join(one_line(text).split())


def default_keys(stage: str, arguments: Sequence[str]) -> list[str]:
    """All keys of a stage, composed with the group options chosen on the command line where that is possible."""
    chosen = [word for word in arguments if "=" in word and (CONF / word.partition("=")[0]).is_dir()]
    GlobalHydra.instance().clear()
    return _composed_keys(stage, tuple(chosen))


@cache
def _composed_keys(stage: str, chosen: tuple[str, ...]) -> list[str]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            return keys(compose(stage, list(chosen)))
        except (HydraException, OmegaConfBaseException):
            return keys(compose(stage))
