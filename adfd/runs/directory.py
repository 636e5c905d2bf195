"""The run directory: all files of a run, written so that they stay readable when the run is killed.

results.jsonl   one row per output, appended as it finishes
candidates.jsonl  all candidates drawn for every output: readings, and the reason where one was rejected
steps.jsonl     losses and ages during refinement, every n steps
photos.csv      the status of every photo
images/         source, anchors and outputs at full resolution
latents/        the StyleSpace code of every output
sheets/         one contact sheet per photo and age; with several ages, one strip of them per photo
pasted/         outputs pasted into their photos, with paste=true; NAME_together: all people of a photo
animations/     one GIF or MP4 per photo, through its ages
summary.json    means over the rows; status running, finished, interrupted or failed
config.json     the resolved configuration, its overrides and the method; read by the evaluation
config_hash     a hash of the configuration that the results depend on, which identifies the folder's owner
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from adfd.basics.arrays import read_arrays
from adfd.basics.errors import OccupiedError
from adfd.basics.files import Row, append_line, atomic, end_line, finite, json_line, lock, read_rows

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

CONFIG = "config.json"


class RunDirectory:
    """The folder of one run, which belongs permanently to one configuration.

    `config` is the part of the configuration that the results depend on, `told` the content of `config.json`. Raises
    OccupiedError where the folder belongs to another configuration, and leaves it unchanged. As a context manager it
    releases the lock taken by `hold`.
    """

    def __init__(self, path: Path, config: dict[str, Any], told: dict[str, Any] | None = None) -> None:
        self.path = path
        self.id = config_hash(config)
        self._claim()
        for folder in ("images", "latents", "sheets"):
            (path / folder).mkdir(exist_ok=True)
        if told and not (path / CONFIG).exists():  # once: the overrides of other ranks differ
            with atomic(path / CONFIG) as stream:
                stream.write(json.dumps(finite(told), indent=2).encode())
        end_line(path / "results.jsonl")
        self.reload()
        self._lock: IO[str] | None = None

    def _claim(self) -> None:
        """Mark the folder as this configuration's. Raises OccupiedError where it has results of another one."""
        check_owner(self.path, self.id)
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "config_hash").write_text(self.id, encoding="utf-8")

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock:
            self._lock.close()

    def hold(self) -> None:
        """Lock the folder for all ranks of this run and mark it as running.

        Steps of unfinished outputs are removed, since they will be repeated. Raises OccupiedError where another process
        holds the lock.
        """
        self._lock = lock(self.path / ".lock")
        self.reload()
        self.save_summary({"status": "running"})
        for file in (self.path / "steps.jsonl", self.path / "candidates.jsonl"):
            lines = read_outputs(file)
            if len(kept := [line for line in lines if self.done(*row_key(line))]) < len(lines):
                with atomic(file) as stream:
                    stream.writelines(json_line(line) for line in kept)

    def reload(self) -> None:
        """Read `results.jsonl` again, with the rows that other ranks wrote."""
        self._rows = latest_outputs(self.path)

    @property
    def rows(self) -> list[Row]:
        """The latest row of every output."""
        return list(self._rows.values())

    def count(self) -> int:
        """Number of finished outputs."""
        return sum(row["status"] == "ok" for row in self.rows)

    def done(self, photo: str, target_age: float, output: int) -> bool:
        """True where this output was finished by this or an earlier start of the run."""
        row = self._rows.get((photo, target_age, output))
        return row is not None and row["status"] == "ok"

    def outputs(self, photo: str, target_age: float) -> list[Row]:
        """Finished rows of one photo and age, sorted by output."""
        rows = [row for row in self.rows if row["status"] == "ok"]
        rows = [row for row in rows if (row["photo"], row["target_age"]) == (photo, target_age)]
        return sorted(rows, key=lambda row: row["output"])

    def append(self, row: Row) -> None:
        """Append a row to `results.jsonl` in a single write."""
        self._rows[row_key(row)] = row
        append_line(self.path / "results.jsonl", row)

    def append_step(self, step: Row) -> None:
        append_line(self.path / "steps.jsonl", step)

    def append_candidate(self, candidate: Row) -> None:
        append_line(self.path / "candidates.jsonl", candidate)

    def save_image(self, name: str, img: Tensor) -> str:
        """Write an image `[3, H, W]` in [-1, 1] as PNG; returns its path within the run directory."""
        file = f"images/{name}.png"
        with atomic(self.path / file) as stream:
            to_pil(img).save(stream, "PNG", compress_level=1)
        return file

    def copy_image(self, name: str, file: Path) -> None:
        """Copy a PNG file unchanged to `images/<name>.png`."""
        with atomic(self.path / f"images/{name}.png") as stream:
            stream.write(file.read_bytes())

    def has_image(self, name: str) -> bool:
        return (self.path / f"images/{name}.png").exists()

    def save_latent(self, name: str, s: Tensor) -> None:
        """Write a code `[C]` to `latents/<name>.npz`."""
        with atomic(self.path / f"latents/{name}.npz") as stream:
            np.savez_compressed(stream, s=s.cpu().float().numpy())

    def load_latent(self, name: str) -> Tensor:
        """The code `[C]` that `save_latent` stored under this name, on the CPU."""
        import torch

        return torch.from_numpy(read_arrays(self.path / f"latents/{name}.npz")["s"])

    def save_summary(self, summary: dict[str, Any]) -> None:
        write_summary(self.path, summary)


def write_summary(directory: Path, summary: dict[str, Any]) -> None:
    with atomic(directory / "summary.json") as stream:
        stream.write(json.dumps(finite(summary), indent=2).encode())


def read_summary(directory: Path) -> dict[str, Any]:
    """A run's `summary.json`; empty where it is missing or unreadable."""
    try:
        summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return summary if isinstance(summary, dict) else {}


def read_outputs(file: Path) -> list[Row]:
    """Rows of a JSON lines file that have photo, target age and output, as all rows of a run do."""
    return [row for row in read_rows(file) if {"photo", "target_age", "output"} <= row.keys()]


def latest_outputs(directory: Path) -> dict[tuple[str, float, int], Row]:
    """The latest row of every output of a run, finished or failed, by `row_key`."""
    return {row_key(row): row for row in read_outputs(directory / "results.jsonl") if "status" in row}


def check_owner(directory: Path, own: str) -> None:
    """Raise OccupiedError where a folder belongs to a configuration whose hash is not `own`."""
    mark = directory / "config_hash"
    owner = mark.read_text(encoding="utf-8") if mark.exists() else ""
    if owner not in ("", own):  # empty where the process was killed before writing
        raise OccupiedError(f"{directory} holds results of another configuration; choose another hydra.run.dir")


def row_key(row: Row) -> tuple[str, float, int]:
    return row["photo"], row["target_age"], row["output"]


def config_hash(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def to_pil(img: Tensor) -> Image.Image:
    """Image `[3, H, W]` in [-1, 1] to 8-bit RGB."""
    pixels = ((img.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def mean(values: list[float | None]) -> float | None:
    """Mean of the values that are not None; None where there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def summarize(rows: list[Row], diversity: list[float], status: str, seconds: float) -> dict[str, Any]:
    """Means over the finished rows. `diversity` holds one value per photo and age with several outputs."""
    ok = [row for row in rows if row["status"] == "ok"]
    age_error = mean([abs(row["age"] - row["target_age"]) for row in ok])
    id_similarity = mean([row["id_similarity_source"] for row in ok])
    return {
        "status": status,
        "outputs": len(ok),
        "failures": len(rows) - len(ok),
        "not_reached": sum(row.get("reached") is False for row in ok),
        "age_error": age_error,
        "age_error_anchor": mean([abs(row["age"] - row["anchor_age"]) for row in ok]),
        "id_similarity_source": id_similarity,
        "id_similarity_anchor": mean([row["id_similarity_anchor"] for row in ok]),
        "harmonic": None if age_error is None or id_similarity is None else _harmonic(age_error, id_similarity),
        "diversity": mean(list(diversity)),
        "evaluations": mean([row["evaluations"] for row in ok]),
        "seconds": seconds,
    }


def _harmonic(age_error: float, id_similarity: float) -> float:
    import torch

    from adfd.basics.harmonic import harmonic_score

    return harmonic_score(torch.tensor(age_error), torch.tensor(id_similarity)).item()


def link_wandb(directory: Path) -> None:
    """Update a sweep's folder `wandb/`: a link to each W&B run of its jobs so far."""
    for run in directory.glob("*/wandb/*run-*"):
        link = directory / "wandb" / run.name
        link.parent.mkdir(exist_ok=True)
        with suppress(FileExistsError):
            link.symlink_to(os.path.relpath(run, link.parent))
