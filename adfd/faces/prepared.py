"""Prepare photos for editing: aligned crops and their inverted latents, computed once and cached."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from adfd.basics.arrays import read_arrays
from adfd.basics.batching import OutOfMemory, halved
from adfd.basics.errors import AdfdError
from adfd.basics.files import atomic, cell
from adfd.basics.pooling import POOLED_SIZE, pool
from adfd.basics.progress import bar as progress_bar
from adfd.basics.sharing import unfinished
from adfd.faces.align import MIN_FACE_WIDTH, align, find_faces, has_face, is_aligned
from adfd.faces.invert import invert
from adfd.faces.photo_names import below, face_names, unique_names
from adfd.faces.photos import as_img, read_photo
from adfd.models.networks import Networks
from adfd.models.sources import Sources

CACHE_VERSION = 1
"""Part of every cache key: raise it when a change of the code gives other latents for the same crop and settings."""
READ_BATCH = 16
"""Faces that the judges read per batch; affects the memory used, not the results."""


@dataclass(frozen=True)
class PrepareSettings:
    """Settings of alignment and inversion. Raises AdfdError naming the key whose value is impossible."""

    faces: str
    """Which faces of a photo: "largest" or "all"."""
    align: Any  # OmegaConf has no union of bool and str
    """True; False where the photos are aligned square crops and are only resized; "auto" decides photo by photo."""
    require_face: bool
    """Whether the detector must find a face in a picture that is used without alignment."""
    size: int
    """Side of the crop, in px."""
    steps: int  # of the inversion
    full_steps: int  # the last of them, drawn by the generator itself; all where the stack has no draft
    lr: float  # in standard deviations of W
    batch_size: int  # faces inverted per batch; results do not depend on it
    pixel: float  # this and the next three: weights of the inversion's loss terms, as in `invert`
    perceptual: float
    id: float
    pull: float

    def __post_init__(self) -> None:
        if self.faces not in ("largest", "all"):
            raise AdfdError(f"prepare.faces must be largest or all, got {self.faces}")
        if self.align not in (True, False, "auto"):
            raise AdfdError(f"prepare.align must be auto, true or false, got {self.align}")
        for key, least in {"size": POOLED_SIZE, "steps": 1, "full_steps": 1, "batch_size": 1}.items():
            if not getattr(self, key) >= least:
                raise AdfdError(f"prepare.{key} must be at least {least}, got {getattr(self, key)}")
        if not 0 < self.lr < math.inf:
            raise AdfdError(f"prepare.lr must be a finite number greater than 0, got {self.lr}")
        for key, weight in self.weights.items():
            if not 0 <= weight < math.inf:
                raise AdfdError(f"prepare.{key} must be a finite number of at least 0, got {weight}")

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the inversion's loss terms."""
        return {key: getattr(self, key) for key in ("pixel", "perceptual", "id", "pull")}


@dataclass(frozen=True)
class PreparedFace:
    """Record of one face of a photo, or of a photo without a usable face."""

    name: str
    """The photo's file name without suffix; followed by #2, #3 ... where another face has that name already."""
    photo: Path
    status: str
    """"ready" or "skipped"."""
    reason: str = ""
    """Why it was skipped."""
    aligned: bool = False
    """True where the picture was used as an aligned crop without alignment."""
    landmarks: tuple[tuple[float, float], ...] | None = None
    """Landmarks by which the crop was aligned: 5 x (x, y) in px of the upright photo; None without alignment."""
    crop: Path | None = None
    latents: Path | None = None
    id_similarity: float | None = None
    """This and the next three: measured at the inversion's best step; None where skipped or encoded."""
    id_distance: float | None = None
    pixel_error: float | None = None
    perceptual: float | None = None
    cached: bool = False
    """True where the latents were found in the cache."""
    file: str = ""
    """The photo's path below the folder that was searched."""


READINGS = ("id_similarity", "id_distance", "pixel_error", "perceptual")


def prepare(
    photos: Sequence[Path],
    networks: Networks,
    settings: PrepareSettings,
    cache: Path,
    *,
    root: Path | None = None,
    share: slice = slice(None),
    progress: bool = True,
) -> list[PreparedFace]:
    """Align and invert the faces of `photos[share]`; returns at least one record per photo, in the order of the photos.

    Names include the folders between `root` and a photo and are unique among all of `photos`, so that each rank can
    prepare its own share. Where the networks have an encoder nothing is inverted, and records have no latents.

    A face is cached in `<cache>/<key>/` as `crop.png` and `latents.npz`, where the key is a hash of everything that the
    latents depend on; a face with intact files there is not inverted again, one that another process inverts is waited
    for. Photos without a usable face are recorded as skipped. An interruption loses only the current batch. `progress`
    shows bars on stderr. Raises AdfdError where the landmark file is missing or the cache folder cannot be made.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdfdError(f"cache folder {cache} cannot be made: {error.strerror}") from error
    faces: list[PreparedFace] = []
    encoded = networks.has_encoder
    photo_names = unique_names(photos, root)
    named = list(zip(photo_names, photos, strict=True))[share]
    for name, photo in progress_bar(named, desc="align", unit="photo", disable=not progress):
        found = crops(photo, settings)
        for face_name, (crop, aligned, points) in zip(face_names(name, photo_names), found, strict=False):
            file = below(photo, root).as_posix()
            face = PreparedFace(face_name, photo, "ready", aligned=aligned, file=file, landmarks=points)
            if isinstance(crop, str):
                face = replace(face, status="skipped", reason=crop)
            else:
                folder = cache / _key(crop, networks, settings)
                face = replace(face, crop=folder / "crop.png", latents=None if encoded else folder / "latents.npz")
                _keep_crop(crop, folder / "crop.png")
            faces.append(face)

    wanted = {face.latents: face.crop for face in faces if face.latents and face.crop}
    pending = [latents for latents in wanted if _read_latents(latents, networks) is None]
    made, steps = set[Path | None](), len(pending) * (settings.steps + 1)
    with progress_bar(total=steps, desc="invert", unit="step", disable=not (progress and pending)) as bar:
        for batch in unfinished(pending, settings.batch_size, partial(_read_latents, networks=networks)):
            _invert([(latents, wanted[latents]) for latents in batch], networks, settings, bar)
            made.update(batch)
    return [_finish(face, networks, cached=face.latents not in made) for face in faces]


def load_sources(faces: Sequence[PreparedFace], networks: Networks) -> Sources:
    """The faces of status "ready", as tensors on the networks' device, with the judges' readings.

    Latents are the inverted ones; where there are none, the networks' encoder is applied to the face at its estimated
    age. Raises AdfdError where no face is ready, or a cached file is missing or damaged.
    """
    ready = [face for face in faces if face.crop]
    if not ready:
        reasons = "; ".join(f"{face.photo.name}: {face.reason}" for face in faces[:3])
        raise AdfdError(f"none of {len(faces)} photos has a usable face ({reasons})")
    parts = []
    for start in range(0, len(ready), READ_BATCH):
        batch = ready[start : start + READ_BATCH]
        imgs = [_load_crop(face.crop).to(networks.device) for face in batch if face.crop]
        latents = [face.latents for face in batch]
        w_plus = [
            _load_w_plus(path, networks).to(networks.device) if path else _encode(img, networks)
            for path, img in zip(latents, imgs, strict=True)
        ]
        parts.append(networks.read([face.name for face in batch], torch.cat(imgs), torch.stack(w_plus)))
    return Sources.join(parts)


def write_table(faces: Sequence[PreparedFace], path: Path) -> None:
    """Write all records to a CSV file, one row each."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow([field.name for field in fields(PreparedFace)])
    for face in faces:
        values = astuple(face)
        table.writerow([cell(str(value)) if isinstance(value, str | Path) else value for value in values])
    _write(path, lambda file: file.write(text.getvalue().encode()))


def crops(photo: Path, settings: PrepareSettings) -> Iterator[tuple[Image.Image | str, bool, Any]]:
    """For each face: its crop, or the reason why there is none; whether the photo is used unaligned; its landmarks."""
    try:
        image = read_photo(photo)
    except AdfdError as error:
        yield str(error), False, None
        return
    width, height = image.size
    found = find_faces(image) if settings.align else []
    if not settings.align and width != height:
        yield f"picture is {width} x {height} px; without alignment it must be a square crop", False, None
    elif not settings.align and settings.require_face and not has_face(image):
        yield "no face found; prepare.require_face=false takes the picture as it is", False, None
    elif not settings.align or (settings.align == "auto" and any(is_aligned(image, f.landmarks) for f in found)):
        yield image.resize((settings.size, settings.size), Image.Resampling.LANCZOS), True, None
    elif not found:
        yield "no face found", False, None
    else:
        for face in found if settings.faces == "all" else found[:1]:
            if face.width < MIN_FACE_WIDTH:
                yield f"face is {face.width:.0f} px wide, at least {MIN_FACE_WIDTH} are needed", False, None
            else:
                yield align(image, face.landmarks, settings.size), False, tuple(map(tuple, face.landmarks.tolist()))


def _key(crop: Image.Image, networks: Networks, settings: PrepareSettings) -> str:
    inversion = (networks.name, crop.size, settings.steps, settings.lr, *settings.weights.items())
    if networks.draft is not None:
        inversion += (settings.full_steps, networks.draft.digest)
    made_by = (CACHE_VERSION, *(("encoder", crop.size) if networks.has_encoder else inversion))
    return hashlib.sha256(repr(made_by).encode() + crop.tobytes()).hexdigest()


@torch.no_grad()
def _encode(img: Tensor, networks: Any) -> Tensor:
    """`w_plus` `[L, 512]` by the networks' encoder of a face `[1, 3, 256, 256]` at its estimated age."""
    return networks.encode(img, networks.age(img))[0]


def _keep_crop(crop: Image.Image, path: Path) -> None:
    with suppress(AdfdError):  # missing or damaged
        if read_photo(path).tobytes() == crop.tobytes():
            return
    _write(path, lambda file: crop.save(file, "png", compress_level=1))


def _invert(
    batch: Sequence[tuple[Path, Path]], networks: Networks, settings: PrepareSettings, bar: tqdm[NoReturn]
) -> None:
    """Invert crops and write their latents, except where the inversion failed."""
    before = bar.n

    def on_step(loss: Tensor, id_distance: Tensor) -> None:
        mean_loss, mean_distance = torch.stack([loss.mean(), id_distance.mean()]).tolist()
        bar.set_postfix(loss=mean_loss, id_distance=mean_distance, refresh=False)
        bar.update(len(loss))

    img = torch.cat([_load_crop(crop) for _, crop in batch]).to(networks.device)
    result = None
    with suppress(OutOfMemory):
        result = invert(
            networks,
            img,
            steps=settings.steps,
            full_steps=settings.full_steps,
            lr=settings.lr,
            **settings.weights,
            on_step=on_step,
        )
    if result is None:
        bar.n = before
        half = halved(len(batch))
        for part in (batch[:half], batch[half:]):
            _invert(part, networks, settings, bar)
        return
    for i, (path, _) in enumerate(batch):
        if not result.failed[i]:
            arrays = {key: getattr(result, key)[i].cpu().numpy() for key in ("w_plus", *READINGS)}
            _write(path, partial(np.savez, **arrays))


def _finish(face: PreparedFace, networks: Networks, cached: bool) -> PreparedFace:
    if face.latents is None:  # skipped, or left to the encoder
        return face
    arrays = _read_latents(face.latents, networks)
    if arrays is None:
        reason = "inversion failed: its loss is not a number"
        return replace(face, status="skipped", reason=reason, crop=None, latents=None)
    return replace(face, **{key: arrays[key].item() for key in READINGS}, cached=cached)


def _load_crop(path: Path) -> Tensor:
    return pool(as_img(read_photo(path)))


def _load_w_plus(path: Path, networks: Networks) -> Tensor:
    arrays = _read_latents(path, networks)
    if arrays is None:
        raise AdfdError(f"latents {path} are missing or damaged; prepare the photo again")
    return torch.from_numpy(arrays["w_plus"])


def _read_latents(path: Path, networks: Networks) -> dict[str, np.ndarray] | None:
    """Latents and measurements; None where the file is missing, damaged or from another generator."""
    try:
        file = read_arrays(path)
        arrays = {key: file[key] for key in ("w_plus", *READINGS)}
    except Exception:
        return None
    fits = arrays["w_plus"].shape == (networks.space.n_w_rows, networks.generator.w_dim)
    return arrays if fits and all(np.isfinite(array).all() for array in arrays.values()) else None


def _write(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file atomically, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as file:
        write(file)
