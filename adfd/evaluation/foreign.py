"""Pictures of another program: turn a folder of them into a run directory with the readings of a stack's judges."""

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
    """The folder of pictures and the pattern of their names. Raises AdfdError naming the key of an impossible value."""

    path: str
    """The folder of the pictures."""
    sources: str | None
    """Folder of the source photos, named as the pattern's group `photo`; None: identity and gender are not compared."""
    pattern: str
    """Regular expression of the file name without suffix, with groups `photo`, `age` (years), optionally `output`."""
    name: str | None
    """Name of their method in tables; None for the folder's name."""

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
    """One picture, parsed from its file name; `output` is None where the name has none."""

    file: Path
    photo: str
    target_age: float
    output: int | None


@torch.inference_mode()
def score(run: RunDirectory, folder: Folder, settings: PrepareSettings, networks: Networks) -> None:
    """Crop every picture and its source like photos, read the judges on them, and write both to a run directory.

    Unusable pictures are listed in `summary.json` with the reason. Raises AdfdError where no picture is usable.
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
    """Parse file names: the pictures, and the skipped files with the reason.

    Pictures whose name has no output index get the next free one of their photo and age.
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
    """The source photos, cropped at their first use."""

    def __init__(self, run: RunDirectory, folder: Folder, settings: PrepareSettings, networks: Networks) -> None:
        self.run, self.settings, self.networks = run, settings, networks
        self.files = {file.stem: file for file in find_photos(Path(folder.sources))} if folder.sources else {}
        self.wanted = bool(folder.sources)
        self.found: dict[str, Tensor | None] = {}

    def find(self, photo: str) -> Tensor | None:
        """The source's pooled crop `[1, 3, 256, 256]`; None where there is none, with a warning at the first call."""
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
    """The judges' readings on a picture `[1, 3, H, W]` and on its source, as columns of a row."""
    pooled = pool(img).to(networks.device)
    row: dict[str, float | None] = {"source_age": None, "id_similarity_source": None}
    if source is not None:
        similarity = networks.id_similarity(networks.embed(pooled), networks.embed(source))
        row = {"source_age": networks.age(source).item(), "id_similarity_source": similarity.item()}
    return row | {"age": networks.read_age(pooled)[0].item(), "p_female": networks.gender(pooled).exp()[0, 0].item()}
