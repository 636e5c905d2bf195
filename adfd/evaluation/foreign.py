"""Pictures that another program made: a folder of them becomes a run directory, read by the judges of a stack."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from adfd.basics import progress
from adfd.basics.errors import AdfdError
from adfd.basics.pooling import pool
from adfd.faces.photos import as_img, find_photos
from adfd.faces.prepared import PrepareSettings, crops
from adfd.models.networks import Networks
from adfd.runs.directory import RunDirectory

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folder:
    """Where the pictures are and what their names say. Raises AdfdError naming the key with an impossible value."""

    path: str
    """The folder of the pictures."""
    sources: str | None
    """The photos they were made of, named as the pattern's `photo`; None: no identity and no gender is compared."""
    pattern: str
    """A regular expression of the file name without suffix, with the groups photo, age (years) and, if any, output."""
    name: str | None
    """What tables call their method; None for the folder's name."""

    def __post_init__(self) -> None:
        try:
            groups = set(re.compile(self.pattern).groupindex)
        except re.error as error:
            raise AdfdError(f"folder.pattern is no regular expression: {error}, got {self.pattern}") from None
        if missing := {"photo", "age"} - groups:
            raise AdfdError(f"folder.pattern needs a group (?P<{min(missing)}>...), got {self.pattern}")

    @property
    def method(self) -> str:
        return self.name or Path(self.path).resolve().name


@dataclass(frozen=True)
class Picture:
    """One picture, as its name says; `output` None where the name says none."""

    file: Path
    photo: str
    target_age: float
    output: int | None


@torch.inference_mode()
def score(run: RunDirectory, folder: Folder, settings: PrepareSettings, networks: Networks) -> None:
    """Crop every picture and its source as photos are cropped, and write them and what the judges read as a run.

    What cannot be used is in `summary.json` with its reason. Raises AdfdError where nothing can.
    """
    files = find_photos(Path(folder.path))
    pictures, skipped = parse(files, folder.pattern)
    sources = _Sources(run, folder, settings, networks)
    for picture in progress.bar(pictures, desc="score", unit="picture"):
        assert picture.output is not None
        if run.done(picture.photo, picture.target_age, picture.output):
            continue
        crop, *_ = next(crops(picture.file, settings))
        if isinstance(crop, str):
            skipped[picture.file.name] = crop
            continue
        img = as_img(crop)
        name = f"{picture.photo}_age{picture.target_age:g}_{picture.output}"
        image = run.save_image(name, img[0])
        run.append(_row(folder, picture, image) | _read(networks, img, sources.find(picture.photo)))
    rows = len(run.rows)
    if not rows:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3])
        raise AdfdError(f"none of the {len(files)} pictures in folder.path={folder.path} can be scored ({reasons})")
    for name, reason in skipped.items():
        log.warning("%s is left out: %s", name, reason)
    run.save_summary({"status": "finished", "reason": "", "outputs": rows, "skipped_photos": skipped})


def parse(files: Sequence[Path], pattern: str) -> tuple[list[Picture], dict[str, str]]:
    """Pictures by their names, and the files left out with the reason.

    Outputs are numbered where names do not number them.
    """
    pictures, skipped, taken = list[Picture](), dict[str, str](), dict[tuple, Path]()
    for file in files:
        match = re.fullmatch(pattern, file.stem)
        try:
            groups = match.groupdict() if match else {}
            number = groups.get("output")
            picture = Picture(file, groups["photo"], float(groups["age"]), int(number) if number else None)
        except (KeyError, TypeError, ValueError):
            skipped[file.name] = "its name does not match folder.pattern"
            continue
        pictures.append(picture)
    numbered = []
    for picture in sorted(pictures, key=lambda picture: picture.output is None):  # stable: numbered ones first
        place = picture.photo, picture.target_age
        free = (output for output in count() if (*place, output) not in taken)
        output = next(free) if picture.output is None else picture.output
        if twin := taken.get((*place, output)):
            skipped[picture.file.name] = f"{twin.name} is the same photo, age and output"
            continue
        taken[(*place, output)] = picture.file
        numbered.append(Picture(picture.file, *place, output))
    return numbered, skipped


class _Sources:
    """The source photos, cropped and read at their first use."""

    def __init__(self, run: RunDirectory, folder: Folder, settings: PrepareSettings, networks: Networks) -> None:
        self.run, self.settings, self.networks = run, settings, networks
        self.files = {file.stem: file for file in find_photos(Path(folder.sources))} if folder.sources else {}
        self.wanted = bool(folder.sources)
        self.found: dict[str, Tensor | None] = {}

    def find(self, photo: str) -> Tensor | None:
        """The source's pooled crop `[1, 3, 256, 256]`; None, with one warning, where there is none."""
        if photo not in self.found:
            self.found[photo] = self._crop(photo)
        return self.found[photo]

    def _crop(self, photo: str) -> Tensor | None:
        if photo not in self.files:
            if self.wanted:
                log.warning("no source photo %s: identity is not measured on its pictures", photo)
            return None
        crop, *_ = next(crops(self.files[photo], self.settings))
        if isinstance(crop, str):
            log.warning("source photo %s: %s; identity is not measured on its pictures", photo, crop)
            return None
        img = as_img(crop)
        self.run.save_image(f"{photo}_source", img[0])
        return pool(img).to(self.networks.device)


def _row(folder: Folder, picture: Picture, image: str) -> dict:
    unknown = ("anchor_age", "id_similarity_anchor", "steps", "evaluations", "seconds", "seed")
    return {
        "photo": picture.photo,
        "output": picture.output,
        "method": folder.method,
        "target_age": picture.target_age,
        "status": "ok",
        "reason": "",
        **dict.fromkeys(unknown),
        "image": image,
        "file": str(picture.file),
    }


def _read(networks: Networks, img: Tensor, source: Tensor | None) -> dict[str, float | None]:
    """What the judges read on a picture `[1, 3, H, W]`, and on its source."""
    pooled = pool(img).to(networks.device)
    row: dict[str, float | None] = {"source_age": None, "id_similarity_source": None}
    if source is not None:
        similarity = networks.id_similarity(networks.embed(pooled), networks.embed(source))
        row = {"source_age": networks.age(source).item(), "id_similarity_source": similarity.item()}
    return row | {"age": networks.read_age(pooled)[0].item(), "p_female": networks.gender(pooled).exp()[0, 0].item()}
