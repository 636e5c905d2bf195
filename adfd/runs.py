"""The run directory: everything a run leaves behind, written so that a killed run stays readable.

results.jsonl   one row per output, appended as it finishes
steps.jsonl     losses and ages during refinement, every n steps
photos.csv      what became of every photo
images/         source, anchors and outputs at full resolution
latents/        the StyleSpace code of every output
sheets/         one contact sheet per photo and age; with several ages, one strip of them per photo
animations/     one GIF or MP4 per photo, through its ages
summary.json    means over the rows; status running, finished, interrupted or failed
config_hash     whose folder this is: a hash of all that the results depend on
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adfd.errors import OccupiedError
from adfd.harmonic import harmonic_score

log = logging.getLogger(__name__)

Row = dict[str, Any]


class RunDirectory:
    """One run's folder. `config` is what its results depend on; a folder belongs to one configuration for good.

    In a `with` statement, what `hold` took is let go at the end.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self.id = config_hash(config)
        for folder in ("images", "latents", "sheets"):
            (path / folder).mkdir(parents=True, exist_ok=True)
        self._claim()
        end_line(path / "results.jsonl")
        self.reload()
        self._lock: IO[str] | None = None

    def _claim(self) -> None:
        """Mark the folder as this configuration's. Raises OccupiedError where another one's results lie in it."""
        mark = self.path / "config_hash"
        owner = mark.read_text() if mark.exists() else ""
        if owner not in ("", self.id):  # empty where a kill came between
            raise OccupiedError(f"{self.path} holds results of another configuration; choose another hydra.run.dir")
        mark.write_text(self.id)

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock:
            self._lock.close()

    def hold(self) -> None:
        """Keep other processes out, for all ranks of this run, and tell that it is under way.

        Steps of outputs that were not finished are forgotten: they come again. Raises OccupiedError where another
        process is at work here.
        """
        self._lock = lock(self.path / ".lock")
        self.reload()
        self.save_summary({"status": "running"})
        file = self.path / "steps.jsonl"
        steps = read_rows(file)
        if len(kept := [step for step in steps if self.done(*row_key(step))]) < len(steps):
            with atomic(file) as stream:
                stream.writelines(json_line(step) for step in kept)

    def reload(self) -> None:
        """Take in what lies in `results.jsonl`."""
        self._rows = {row_key(row): row for row in read_rows(self.path / "results.jsonl")}

    @property
    def rows(self) -> list[Row]:
        """The latest row of every output."""
        return list(self._rows.values())

    def count(self) -> int:
        """Number of outputs that are there."""
        return sum(row["status"] == "ok" for row in self.rows)

    def done(self, photo: str, target_age: float, output: int) -> bool:
        """Whether this output is there, from this start of the run or an earlier one."""
        row = self._rows.get((photo, target_age, output))
        return row is not None and row["status"] == "ok"

    def append(self, row: Row) -> None:
        """Add a row to `results.jsonl`, at once and in one piece."""
        self._rows[row_key(row)] = row
        append_line(self.path / "results.jsonl", row)

    def append_step(self, step: Row) -> None:
        append_line(self.path / "steps.jsonl", step)

    def save_image(self, name: str, img: Tensor) -> str:
        """Write an image `[3, H, W]` in [-1, 1] as PNG; returns its path within the run directory."""
        file = f"images/{name}.png"
        with atomic(self.path / file) as stream:
            to_pil(img).save(stream, "PNG", compress_level=1)
        return file

    def has_image(self, name: str) -> bool:
        return (self.path / f"images/{name}.png").exists()

    def save_latent(self, name: str, s: Tensor) -> None:
        with atomic(self.path / f"latents/{name}.npz") as stream:
            np.savez_compressed(stream, s=s.cpu().float().numpy())

    def load_latent(self, name: str) -> Tensor:
        with np.load(self.path / f"latents/{name}.npz") as file:
            return torch.from_numpy(file["s"])

    def save_summary(self, summary: dict[str, Any]) -> None:
        write_summary(self.path, summary)


def write_summary(directory: Path, summary: dict[str, Any]) -> None:
    with atomic(directory / "summary.json") as stream:
        stream.write(json.dumps(finite(summary), indent=2).encode())


def read_summary(directory: Path) -> dict[str, Any]:
    """A run's `summary.json`; empty where there is none."""
    file = directory / "summary.json"
    return json.loads(file.read_text()) if file.exists() else {}


def lock(path: Path, wait: bool = False) -> IO[str]:
    """Hold a file until it is closed or the process ends, however it ends.

    Raises OccupiedError naming the process that holds it, unless told to wait for that one.
    """
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.seek(0)
        raise OccupiedError(f"{path.parent} is in use by {file.read()}; wait for it or end it") from None
    except OSError as error:
        log.warning("%s cannot be locked (%s): start nothing else there until this has ended", path.parent, error)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def held(path: Path) -> bool:
    """Whether some process holds this file."""
    try:
        lock(path).close()
    except OccupiedError:
        return True
    return False


def row_key(row: Row) -> tuple[str, float, int]:
    return row["photo"], row["target_age"], row["output"]


def config_hash(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def json_line(row: Row) -> bytes:
    return json.dumps(finite(row), ensure_ascii=False).encode() + b"\n"


def append_line(path: Path, row: Row) -> None:
    """Append one JSON line in a single write, so that ranks may share a file and a kill leaves whole lines."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, json_line(row))
    finally:
        os.close(handle)


def end_line(path: Path) -> None:
    """End a last line that a kill or a full disk cut short, so that the next row does not join it."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("a") as file:
            file.write("\n")


def read_rows(path: Path) -> list[Row]:
    """Rows of a JSON lines file, without a last line that a full disk cut short; none where there is no file."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def finite(value: Any) -> Any:
    """The same value with null in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Write a file under another name and move it into place when it is whole."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as stream:
        try:
            yield stream
        except BaseException:
            os.unlink(stream.name)
            raise
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, path)


def to_pil(img: Tensor) -> Image.Image:
    """Image `[3, H, W]` in [-1, 1] to 8-bit RGB."""
    pixels = ((img.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def mean(values: list[float | None]) -> float | None:
    """Mean of the values that are there; None of none."""
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
    return harmonic_score(torch.tensor(age_error), torch.tensor(id_similarity)).item()
