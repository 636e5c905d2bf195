"""Trackers of a run: W&B and a CSV of metrics. They mirror the run directory, which has all results.

The data sent to W&B has fixed keys, listed in `docs/wandb.md`, and a bounded size for any number of outputs.
"""

from __future__ import annotations

import csv
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from adfd.basics.errors import AdfdError
from adfd.basics.files import Row, cell, finite, read_rows
from adfd.runs.directory import row_key

log = logging.getLogger(__name__)

MODES = ("online", "offline", "disabled")
BEST = {"age_error": "min", "id_similarity_source": "max", "id_similarity_anchor": "max"}
"""For numbers of an output, whether "min" or "max" is best: W&B's summary shows the best value and the mean."""
SHOWN = ("target_age", "age", "anchor_age", *BEST, "loss", "steps", "seconds")
"""Numbers of an output that are drawn as charts; the table has all numbers."""
KEPT = (
    "results.jsonl",
    "steps.jsonl",
    "photos.csv",
    "summary.json",
    "config_hash",
    "config.json",
    ".hydra/config.yaml",
    "sweep.csv",
)
"""Files of a run or sweep directory that are stored in an artifact."""
LIVE_SECONDS = 30.0
STAGING = "WANDB_DATA_DIR"
"""W&B's environment variable for the folder of artifacts that are waiting to be sent."""
STAGED_HERE = STAGING not in os.environ
THUMBNAIL = 128  # pixels
MAX_SHEETS, MAX_VIDEOS, MAX_THUMBNAILS, MAX_TABLE_ROWS = 50, 20, 2000, 10_000  # W&B shows no more rows of a table


class Tracker(Protocol):
    """Receives the progress and results of a run; `finish` is always called, with a non-zero exit code on failure."""

    def log(self, metrics: dict[str, float]) -> None: ...
    def step(self, row: Row) -> None: ...
    def output(self, row: Row) -> None: ...
    def sheet(self, name: str, path: Path) -> None: ...
    def figure(self, name: str, path: Path) -> None: ...
    def video(self, name: str, path: Path) -> None: ...
    def channels(self, generator: str, path: Path, made: bool) -> None: ...
    def finish(self, summary: dict[str, Any], rows: list[Row], exit_code: int) -> None: ...


class CsvTracker:
    """Writes `metrics.csv` in the run directory, in long format: point, metric, value."""

    def __init__(self, directory: Path) -> None:
        self._file = (directory / "metrics.csv").open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._point = 0
        if self._file.tell() == 0:
            self._writer.writerow(["point", "metric", "value"])

    def log(self, metrics: dict[str, float]) -> None:
        self._writer.writerows((self._point, cell(name), value) for name, value in metrics.items())
        self._file.flush()
        self._point += 1

    def step(self, row: Row) -> None:
        """Log a refinement step of a sample; metrics are named by the sample."""
        sample = f"{row['photo']}_age{row['target_age']:g}_{row['output']}"
        where = ("photo", "target_age", "output", "step")
        self.log({"step": row["step"]} | {f"{key}/{sample}": row[key] for key in row if key not in where})

    def output(self, row: Row) -> None:
        self.log({f"output/{key}": float(value) for key, value in row.items() if isinstance(value, int | float)})

    def sheet(self, name: str, path: Path) -> None:
        pass

    def figure(self, name: str, path: Path) -> None:
        pass

    def video(self, name: str, path: Path) -> None:
        pass

    def channels(self, generator: str, path: Path, made: bool) -> None:
        pass

    def finish(self, summary: dict[str, Any], rows: list[Row], exit_code: int) -> None:
        self._file.close()


class WandbTracker:
    """One W&B run per job with the given `id`, so that a restarted job continues its own W&B run.

    Online, W&B resumes the run. Offline, each start writes a new file, and `wandb sync` keeps only the last of several
    files with the same id; a new file therefore begins with the earlier starts' data from the run directory.
    """

    def __init__(
        self,
        directory: Path,
        config: dict[str, Any],
        *,
        id: str,
        name: str,
        group: str | None,
        job_type: str,
        project: str,
        entity: str | None,
        mode: str,
        tags: Sequence[str],
    ) -> None:
        if mode not in MODES:
            raise AdfdError(f"logger.mode must be one of {', '.join(MODES)}, got {mode}")
        import wandb  # slow to import, and not always needed

        self._wandb = wandb
        self._directory = directory
        if STAGED_HERE and mode == "offline":  # in the run directory instead of the home folder
            os.environ[STAGING] = str((directory / "wandb").absolute())
        elif STAGED_HERE:
            os.environ.pop(STAGING, None)
        try:
            self._run = wandb.init(
                dir=directory,
                config=config,
                id=os.environ.get("WANDB_RUN_ID") or id,  # set by the agent of a W&B sweep
                name=name,
                group=group,
                job_type=job_type,
                project=project,
                entity=entity,
                mode=mode,  # type: ignore[arg-type]
                tags=tags,
                resume="allow" if mode == "online" else None,
                settings=wandb.Settings(quiet=True, console="off"),
            )
        except wandb.errors.Error as error:
            remedy = "log in with `wandb login`, or set logger.mode=offline"
            raise AdfdError(f"logger=wandb could not start a run ({error}); {remedy}") from error
        self._running: dict[tuple, Row] = {}
        self._told = time.monotonic()
        self._seen: dict[str, int] = defaultdict(int)
        self._thumbnails: dict[Path, Any] = {}
        self._define()
        earlier = {row_key(row): row for row in read_rows(directory / "results.jsonl")}
        for row in earlier.values():
            if self._run.resumed:
                self._seen["output"] += 1
            else:
                self.output(row)

    def _define(self) -> None:
        """Define the x axis of each chart and the values in W&B's summary."""
        for group, over in (("refine", "refine/step"), ("output", "output/index")):
            self._run.define_metric(over, hidden=True)
            self._run.define_metric(f"{group}/*", step_metric=over)
        for key, best in BEST.items():
            self._run.define_metric(f"output/{key}", step_metric="output/index", summary=f"{best},mean")

    def log(self, metrics: dict[str, float]) -> None:
        self._run.log(metrics)

    def step(self, row: Row) -> None:
        """Store a refinement step of a sample; the mean over the running samples is logged at intervals."""
        self._running[row_key(row)] = row
        if time.monotonic() - self._told > LIVE_SECONDS:
            self._told = time.monotonic()
            running = list(self._running.values())
            (point,) = curves([row | {"step": 0} for row in running])
            self._run.log({f"live/{key}": point[key] for key in ("loss", "age_error", "samples") if key in point})

    def output(self, row: Row) -> None:
        """Log a finished output as one point; the x axis is the order in which outputs finish."""
        self._running.pop(row_key(row), None)
        self._seen["output"] += 1
        point = {key: row[key] for key in SHOWN if row.get(key) is not None} | age_error(row)
        point |= {"index": self._seen["output"], "failed": int(row["status"] != "ok")}
        self._run.log({f"output/{key}": value for key, value in finite(point).items() if value is not None})

    def sheet(self, name: str, path: Path) -> None:
        if self._room_for("sheets", MAX_SHEETS):
            with Image.open(path) as picture:
                shown = self._wandb.Image(picture.convert("RGB"), caption=name, file_type="jpg")
            self._run.log({"sheets": shown})

    def figure(self, name: str, path: Path) -> None:
        self._run.log({f"figures/{name}": self._wandb.Image(str(path))})

    def video(self, name: str, path: Path) -> None:
        if self._room_for("animations", MAX_VIDEOS):
            kind = path.suffix[1:]
            video = self._wandb.Video(str(path), caption=name, format=kind)  # type: ignore[arg-type]
            self._run.log({f"animations/{kind}": video})

    def _room_for(self, what: str, limit: int) -> bool:
        """True where fewer than `limit` items of this kind were sent to W&B; the first refusal is logged."""
        self._seen[what] += 1
        if self._seen[what] == limit + 1:
            log.info("W&B has %d %s of this run; the others are in the run directory", limit, what)
        return self._seen[what] <= limit

    def channels(self, generator: str, path: Path, made: bool) -> None:
        """Record a channels file that the run made or used; W&B shows equal files as one version with all its runs."""
        artifact = self._wandb.Artifact(f"channels-{generator}", type="channels")
        artifact.add_file(str(path), name=f"{generator}{path.suffix}")
        if made:
            self._run.log_artifact(artifact)
        elif not self._run.offline:
            self._run.use_artifact(artifact)
        else:  # the effect of `use_artifact` for a local file, which it refuses offline
            self._run._log_artifact(artifact, is_user_created=True, use_after_commit=True)

    def finish(self, summary: dict[str, Any], rows: list[Row], exit_code: int) -> None:
        """Log tables, files and summary, and for a successful run the refinement's curves; close the W&B run."""
        steps = read_rows(self._directory / "steps.jsonl")
        for point in curves(steps) if not exit_code else ():
            self._run.log({f"refine/{key}": value for key, value in point.items()})
        if steps:
            self._run.log({"trajectories": self._table(thin(steps, MAX_TABLE_ROWS))})
        if rows:
            shown = rows[:MAX_TABLE_ROWS]
            self._run.log({"results": self._table([self._pictures(row) | row for row in shown])})
        if any("photo" in row for row in rows):
            kept = self._wandb.Artifact(f"rows-{self._run.id}", type="rows")
            for file in filter(Path.is_file, (self._directory / name for name in KEPT)):
                kept.add_file(str(file), name=file.relative_to(self._directory).as_posix())
            self._run.log_artifact(kept)
        self._run.summary.update(finite(summary))
        self._run.finish(exit_code=exit_code)

    def _table(self, rows: Sequence[Row]) -> Any:
        columns: list[str | int] = list(dict.fromkeys(key for row in rows for key in row))
        data = [[finite(row.get(str(column))) for column in columns] for row in rows]
        return self._wandb.Table(columns=columns, data=data)

    def _pictures(self, row: Row) -> Row:
        """Columns for a row with a picture: thumbnails of source, anchor and output, and the path of its code.

        In the table of a sweep, the row's `job` names the run directory.
        """
        if not row.get("image") or self._seen["thumbnails"] >= MAX_THUMBNAILS:
            return {}
        self._seen["thumbnails"] += 1
        folder = self._directory / str(row.get("job", ""))
        return {
            "source": self._thumbnail(folder / f"images/{row['photo']}_source.png"),
            "anchor": self._thumbnail(folder / f"images/{row['photo']}_age{row['target_age']:g}_anchor.png"),
            "picture": self._thumbnail(folder / row["image"]),
            "code": f"latents/{Path(row['image']).stem}.npz",
        }

    def _thumbnail(self, path: Path) -> Any:
        if path not in self._thumbnails:
            with Image.open(path) as picture:
                small = picture.convert("RGB").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
            self._thumbnails[path] = self._wandb.Image(small, file_type="jpg")
        return self._thumbnails[path]


def age_error(row: Row) -> Row:
    """The column `age_error`, in years; empty for a row without an age."""
    return {} if row.get("age") is None else {"age_error": abs(row["age"] - row["target_age"])}


def curves(steps: Iterable[Row]) -> list[dict[str, float]]:
    """Refinement curves over all samples: at each step mean, 10 % and 90 % quantile over the samples still running.

    `KEY`, `KEY_p10` and `KEY_p90` for every loss, `age` and `age_error`; `samples` is the number of running samples.
    """
    at: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in steps:
        for key, value in (row | age_error(row)).items():
            if key not in ("photo", "target_age", "output", "step") and value is not None:
                at[row["step"]][key].append(value)
    points = []
    for step, values in sorted(at.items()):
        point: dict[str, float] = {"step": step, "samples": max(map(len, values.values()))}
        for key, numbers in values.items():
            low, high = np.percentile(numbers, (10, 90)).tolist()
            point |= {key: float(np.mean(numbers)), f"{key}_p10": low, f"{key}_p90": high}
        points.append(point)
    return points


def thin(steps: Sequence[Row], limit: int) -> list[Row]:
    """At most `limit` step rows, thinned to the same steps for every sample."""
    numbers = sorted({row["step"] for row in steps})
    for stride in range(1, len(numbers) + 1):
        chosen = set(numbers[::stride])
        kept = [row for row in steps if row["step"] in chosen]
        if len(kept) <= limit:
            return kept
    return list(steps[:limit])
