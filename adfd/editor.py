"""Editing in notebooks: `from adfd import Editor`. Each call runs one job, built as by the command line."""

from __future__ import annotations

import base64
import html
import io
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict
from PIL import Image
from torch import Tensor

from adfd.basics.errors import AdfdError
from adfd.basics.files import Row, atomic, finite
from adfd.config import build_edit, build_prepare, build_shared, schema
from adfd.runs.directory import CONFIG, RunDirectory, check_owner, config_hash, to_pil

schema.register()

STRIP = 192  # pixels of a picture in a notebook


@dataclass(frozen=True, eq=False)
class Person:
    """A person to edit: name, aligned picture, its estimated age, and the overrides that select the person."""

    name: str
    image: Image.Image
    """256 px, aligned."""
    age: float
    """Estimated by the stack's age judge, in years."""
    overrides: tuple[str, ...]

    def _repr_html_(self) -> str:
        return strip([(self.image, f"{self.name}, reads {self.age:.0f}")])


@dataclass(frozen=True, eq=False)
class Result:
    """One edit, read from its run directory."""

    run: RunDirectory = field(repr=False)
    row: Row
    """Its row in `results.jsonl`."""

    @property
    def image(self) -> Image.Image:
        """The picture at full resolution."""
        with Image.open(self.run.path / self.row["image"]) as picture:
            return picture.convert("RGB")

    @property
    def age(self) -> float:
        """Estimated by the stack's age judge, in years."""
        return self.row["age"]

    @property
    def identity(self) -> float:
        """Identity similarity to the source; 1 for identical faces."""
        return self.row["id_similarity_source"]

    @property
    def s(self) -> Tensor:
        """The StyleSpace code `[C]`."""
        return self.run.load_latent(Path(self.row["image"]).stem)

    def save(self, path: Path | str) -> Path:
        """Write the picture, in the format of the path's suffix, and a JSON file next to it; returns the path.

        The JSON contains the row and the configuration, from which the picture can be reproduced.
        """
        self.image.save(path)
        told = json.loads((self.run.path / CONFIG).read_text(encoding="utf-8"))
        with atomic(Path(path).with_suffix(".json")) as stream:
            stream.write(json.dumps({"row": finite(self.row), **told}, indent=2).encode())
        return Path(path)

    def _repr_html_(self) -> str:
        return Results([self])._repr_html_()


class Results(Sequence[Result]):
    """The edits of one call, sorted by output; displayed as a strip of pictures in a notebook."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._results = list(results)

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> Results: ...
    def __getitem__(self, index: int | slice) -> Result | Results:
        return Results(self._results[index]) if isinstance(index, slice) else self._results[index]

    def save(self, folder: Path | str) -> Path:
        """Copy the run directory of these edits to `folder`, which `adfd evaluate runs=FOLDER` can read.

        Returns the folder. Raises AdfdError where it belongs to another configuration.
        """
        if not self:
            raise AdfdError("there are no results to save")
        run = self[0].run
        check_owner(Path(folder), run.id)
        shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns(".lock"), dirs_exist_ok=True)
        return Path(folder)

    def __repr__(self) -> str:
        return "\n".join(f"reads {one.age:.1f} years, identity {one.identity:.2f}" for one in self)

    def _repr_html_(self) -> str:
        return strip([(one.image, f"reads {one.age:.0f}, identity {one.identity:.2f}") for one in self])


class Editor:
    """A model stack and the settings shared by all edits. Runs are stored in `folder`; repeated calls reuse them."""

    def __init__(self, overrides: Sequence[str], folder: Path) -> None:
        self.overrides = tuple(overrides)
        self.folder = folder
        self._kept: Any = None

    @classmethod
    def load(cls, model: str = "mobile", *overrides: str, folder: Path | str | None = None) -> Editor:
        """An editor with the stack `model`; `overrides` as on the command line, such as "refine.max_steps=20".

        Without a `folder` the runs are deleted together with the editor. Raises AdfdError where weights are missing.
        """
        kept = None if folder else tempfile.TemporaryDirectory(prefix="adfd-")
        editor = cls([f"model={model}", "logger=none", *overrides], Path(folder or kept.name))  # type: ignore[union-attr]
        editor._kept = kept
        build_shared.networks(editor._config(()))
        return editor

    def person(self, photo: Path | str | None = None, *, seed: int | None = None) -> Person:
        """The person on a photo, or the synthetic person of a seed; without either, the person of the demo's portrait.

        Raises AdfdError where both are given or no face is usable.
        """
        if photo is not None and seed is not None:
            raise AdfdError(f"give a photo or a seed, not both; got photo={photo} and seed={seed}")
        chosen: tuple[str, ...] = ("data=portrait",)
        if photo is not None:
            chosen = ("data=folder", "data.path=" + quoted(str(Path(photo).resolve())))
        elif seed is not None:
            chosen = ("data=faces", f"data.seeds=[{seed}]")
        sources = build_prepare.people(self._config(chosen)).sources
        return Person(sources.names[0], to_pil(sources.img[0]), sources.age[0].item(), chosen)

    def diversify(self, person: Person, age: float, n: int = 5, seed: int = 0, *overrides: str) -> Results:
        """`n` diverse edits of a person at an age in years."""
        return self.edit(person, "diversify", age, f"method.n_outputs={n}", f"seed={seed}", *overrides)

    def guided(self, person: Person, age: float, *overrides: str) -> Results:
        """One edit, moved along the latent age path until its estimated age is `age`, in years."""
        return self.edit(person, "guided", age, *overrides)

    def edit(self, person: Person, method: str, age: float, *overrides: str) -> Results:
        """Edit a person at an age in years by the named method. Raises AdfdError where every output failed."""
        cfg = self._config((*person.overrides, f"method={method}", f"target_age={age}", *overrides))
        identity = build_shared.identity(cfg)
        with RunDirectory(self.folder / config_hash(identity), identity, build_shared.told(cfg)) as run:
            build_edit.edit(cfg, run).everybody(build_edit.target_ages(cfg))
            rows = sorted(run.rows, key=lambda row: row["output"])
            made = [Result(run, row) for row in rows if row["status"] == "ok"]
        if not made:
            raise AdfdError(rows[0]["reason"] if rows else f"{person.name} has no outputs")
        return Results(made)

    def _config(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job, composed as by the command line."""
        with initialize_config_dir(str(schema.CONF), version_base="1.3"):
            cfg = compose("edit", [*self.overrides, *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg


def quoted(value: str) -> str:
    """A value quoted for Hydra's grammar; any characters are allowed."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def strip(pictures: Sequence[tuple[Image.Image, str]]) -> str:
    """Captioned pictures in a row, as HTML."""
    cells = []
    for image, caption in pictures:
        stream = io.BytesIO()
        image.resize((STRIP, STRIP), Image.Resampling.LANCZOS).save(stream, "JPEG", quality=88)
        source = base64.b64encode(stream.getvalue()).decode()
        cells.append(
            f'<figure style="display:inline-block;margin:4px;text-align:center">'
            f'<img src="data:image/jpeg;base64,{source}" width="{STRIP}" height="{STRIP}" alt="{html.escape(caption)}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    return f"<div>{''.join(cells)}</div>"
