"""Prepare the faces of a config, once per process."""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from adfd.config.build_shared import fabric, networks, plain, settings
from adfd.faces.people import People, photographed_people, portrait, synthetic_people
from adfd.faces.photos import search
from adfd.models.networks import Networks

if TYPE_CHECKING:
    from lightning.fabric import Fabric


log = logging.getLogger(__name__)


def people(cfg: DictConfig) -> People:
    """This rank's people to edit: from photos, aligned and inverted, or synthetic. Cached in the process."""
    chosen = plain(cfg)
    parts = {key: chosen[key] for key in ("data", "prepare", "model", "paths")}
    settings(cfg.prepare)
    return _people(json.dumps(parts, sort_keys=True), networks(cfg), fabric(cfg))


def references(cfg: DictConfig) -> People | None:
    """All reference people of a method with references, on every rank; None for other methods."""
    if "references" not in cfg.method:
        return None
    parts = {key: plain(cfg)[key] for key in ("prepare", "model", "paths")}
    parts["data"] = {"kind": "folder", "path": cfg.method.references, "recursive": False, "pattern": "*"}
    return _people(json.dumps(parts, sort_keys=True), networks(cfg), None)


def forget() -> None:
    """Clear this process's cache of people; their files remain."""
    _people.cache_clear()


@cache
def _people(chosen: str, made: Networks, ranks: Fabric | None) -> People:
    parts = json.loads(chosen)
    share = slice(ranks.global_rank, None, ranks.world_size) if ranks else slice(None)
    data = parts["data"]
    if data["kind"] == "faces":
        return synthetic_people(made, data["seeds"][share], data["psi"])
    cache = Path(parts["paths"]["prepared_dir"])
    if data["kind"] == "portrait":
        return photographed_people(made, [portrait(cache)], settings(parts["prepare"]), cache, share)
    found = search(Path(data["path"]), data["recursive"], data["pattern"])
    if found.left_out:
        log.info(found.told())
    return photographed_people(made, found.photos, settings(parts["prepare"]), cache, share, found.root)
