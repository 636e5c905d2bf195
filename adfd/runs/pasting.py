"""Paste outputs into the photos from which they were made: `pasted/` of a run directory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adfd.basics.errors import AdfdError, describe, unwritable
from adfd.basics.files import Row, atomic
from adfd.faces.paste import JPEG_QUALITY, paste, suffix, upright
from adfd.faces.people import People
from adfd.faces.prepared import PreparedFace
from adfd.runs.directory import RunDirectory

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pasting:
    """Pastes finished outputs into their photos, also where the run was finished earlier without pasting."""

    people: People
    run: RunDirectory

    def outputs(self, names: Sequence[str], target_age: float) -> None:
        """Paste each output of these people at an age, in years, that is not pasted yet into a copy of its photo.

        Adds the file and the gradients across the seam to its row; a failure is logged, and the run continues.
        """
        for face in filter(None, map(self.people.face, names)):
            for row in self.run.outputs(face.name, target_age):
                if row.get("pasted") and (self.run.path / row["pasted"]).exists():
                    continue
                with _failures_logged(f"{face.name} at {target_age:g} is not pasted"):
                    self.run.append(row | self._one(face, row))

    def _one(self, face: PreparedFace, row: Row) -> Row:
        photo, kept = _photo(face.photo)
        made = paste(photo, _landmarks(face), self._edit(row))
        file = f"pasted/{Path(row['image']).stem}{suffix(face.photo)}"
        self._save(made.image, file, kept)
        return {"pasted": file, "seam_gradient": made.gradient, "seam_gradient_photo": made.gradient_photo}

    def together(self, target_age: float) -> None:
        """For photos of several people: for each output index, paste all people's outputs into the photo."""
        by_photo: dict[Path, list[PreparedFace]] = {}
        for face in self.people.faces:
            if face.crop:
                by_photo.setdefault(face.photo, []).append(face)
        for path, faces in by_photo.items():
            rows = {face.name: self.run.outputs(face.name, target_age) for face in faces}
            for output in sorted({row["output"] for of_face in rows.values() for row in of_face}):
                wanted = [(f, row) for f in faces for row in rows[f.name] if row["output"] == output]
                file = f"pasted/{faces[0].name}_age{target_age:g}_{output}_together{suffix(path)}"
                if len(wanted) < 2 or self._newer(file, wanted):
                    continue
                with _failures_logged(f"{path.name} is not pasted together"):
                    picture, kept = _photo(path)
                    for face, row in wanted:
                        picture = paste(picture, _landmarks(face), self._edit(row)).image
                    self._save(picture, file, kept)

    def _newer(self, file: str, wanted: Sequence[tuple[PreparedFace, Row]]) -> bool:
        """True where a joint picture exists and is not older than the outputs in it."""
        path = self.run.path / file
        newest = max((self.run.path / row["image"]).stat().st_mtime for _, row in wanted)
        return path.exists() and path.stat().st_mtime >= newest

    def _edit(self, row: Row) -> Image.Image:
        with Image.open(self.run.path / row["image"]) as picture:
            return picture.convert("RGB")

    def _save(self, picture: Image.Image, file: str, kept: dict[str, Any]) -> None:
        (self.run.path / "pasted").mkdir(exist_ok=True)
        with atomic(self.run.path / file) as stream:
            if file.endswith(".png"):
                picture.save(stream, "PNG", compress_level=1, **kept)
            else:
                picture.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0, **kept)


@contextmanager
def _failures_logged(what: str) -> Iterator[None]:
    """Log an error that is raised inside after the words `what`; raise it where the disk cannot be written."""
    try:
        yield
    except Exception as error:
        if unwritable(error):
            raise
        if not isinstance(error, AdfdError):
            log.exception("pasting failed")
        log.warning("%s: %s", what, describe(error))


def _landmarks(face: PreparedFace) -> np.ndarray | None:
    return None if face.landmarks is None else np.array(face.landmarks)


@lru_cache(maxsize=2)
def _photo(path: Path) -> tuple[Image.Image, dict[str, Any]]:
    """An upright photo, decoded once for all its outputs."""
    return upright(path)
