"""The people to edit: from photos, or synthetic ones from seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from adfd.basics.batching import row_by_row
from adfd.basics.errors import AdfdError
from adfd.basics.files import atomic
from adfd.faces.prepared import PreparedFace, PrepareSettings, load_sources, prepare
from adfd.models.networks import Networks
from adfd.models.sources import Sources


@dataclass(frozen=True, eq=False)
class People:
    """N people to edit; `faces` are the records of their photos and crops, empty for synthetic people."""

    sources: Sources
    faces: tuple[PreparedFace, ...] = ()

    def crop(self, name: str) -> Path | None:
        """The aligned crop at full resolution; None for a synthetic person."""
        face = self.face(name)
        return face.crop if face else None

    def file(self, name: str) -> str | None:
        """The photo's path below the searched folder; None for a synthetic person."""
        face = self.face(name)
        return face.file if face else None

    def face(self, name: str) -> PreparedFace | None:
        """The record of a person's prepared photo; None for a synthetic person."""
        return next((face for face in self.faces if face.name == name), None)


def synthetic_people(networks: Networks, seeds: Sequence[int], psi: float) -> People:
    """One person per seed, from z = RandomState(seed).randn(1, 512) truncated by `psi`.

    Raises AdfdError where there is no seed, or one outside 0..2^32 - 1.
    """
    if not seeds:
        raise AdfdError("data.seeds is empty; give at least one seed")
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise AdfdError(f"data.seeds must lie in 0..4294967295, got {seed}")
    dim = networks.generator.w_dim
    z = torch.from_numpy(np.concatenate([np.random.RandomState(seed).randn(1, dim) for seed in seeds])).float()
    with torch.no_grad():
        w = networks.generator.truncate(row_by_row(networks.mapping, z.to(networks.device)), psi)
        w_plus = w[:, None].repeat(1, networks.space.n_w_rows, 1)
        img = networks.render(row_by_row(networks.affine, w_plus))
    return People(networks.read([f"seed{seed}" for seed in seeds], img, w_plus))


def photographed_people(
    networks: Networks,
    photos: Sequence[Path],
    settings: PrepareSettings,
    cache: Path,
    share: slice = slice(None),
    root: Path | None = None,
) -> People:
    """People from `photos[share]`, prepared or read from the cache.

    Names include the folders below `root` and are unique among all of `photos`. Raises AdfdError where no face is
    usable.
    """
    faces = prepare(photos, networks, settings, cache, root=root, share=share)
    ready = [face for face in faces if face.status == "ready"]
    if not ready:
        reasons = "; ".join(f"{face.photo.name}: {face.reason}" for face in faces[:5])
        raise AdfdError(f"none of {len(faces)} photos can be used ({reasons})")
    return People(load_sources(ready, networks), tuple(faces))


def portrait(folder: Path) -> Path:
    """Write scikit-image's public-domain portrait (Eileen Collins, NASA) to this folder, and return its path."""
    from skimage import data  # slow to import, and only needed here

    path = folder / "portrait.png"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic(path) as stream:  # several jobs may write it at once
            Image.fromarray(data.astronaut()).save(stream, "PNG")
    return path
