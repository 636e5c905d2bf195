"""Views of a run while it happens: W&B and a CSV of metrics. The run directory is the truth; these only follow it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from adfd.basics.errors import AdfdError
from adfd.basics.files import Row, finite

MODES = ("online", "offline", "disabled")


class Tracker(Protocol):
    """Follows a run; `finish` is always called, with a non-zero exit code on failure."""

    def log(self, metrics: dict[str, float]) -> None: ...
    def sheet(self, name: str, path: Path) -> None: ...
    def figure(self, name: str, path: Path) -> None: ...
    def video(self, name: str, path: Path) -> None: ...
    def finish(self, summary: dict[str, Any], rows: list[Row], exit_code: int) -> None: ...


class CsvTracker:
    """`metrics.csv` in the run directory, in long form: point, metric, value."""

    def __init__(self, directory: Path) -> None:
        self._file = (directory / "metrics.csv").open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._point = 0
        if self._file.tell() == 0:
            self._writer.writerow(["point", "metric", "value"])

    def log(self, metrics: dict[str, float]) -> None:
        self._writer.writerows((self._point, name, value) for name, value in metrics.items())
        self._file.flush()
        self._point += 1

    def sheet(self, name: str, path: Path) -> None:
        pass

    def figure(self, name: str, path: Path) -> None:
        pass

    def video(self, name: str, path: Path) -> None:
        pass

    def finish(self, summary: dict[str, Any], rows: list[Row], exit_code: int) -> None:
        self._file.close()


class WandbTracker:
    """One W&B run per job. Its id comes from us, so that a job that is started again continues its own run."""

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
        import wandb  # slow to import, and often not needed

        self._wandb = wandb
        try:
            self._run = wandb.init(
                dir=directory,
                config=config,
                id=id,
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

    def log(self, metrics: dict[str, float]) -> None:
        self._run.log(metrics)

    def sheet(self, name: str, path: Path) -> None:
        self._run.log({f"sheets/{name}": self._wandb.Image(str(path))})

    def figure(self, name: str, path: Path) -> None:
        self._run.log({f"figures/{name}": self._wandb.Image(str(path))})

    def video(self, name: str, path: Path) -> None:
        self._run.log({f"animations/{name}": self._wandb.Video(str(path), format=path.suffix[1:])})  # type: ignore[arg-type]

    def finish(self, summary: dict[str, Any], rows: list[Row], exit_code: int) -> None:
        if rows:
            columns: list[str | int] = list(dict.fromkeys(key for row in rows for key in row))
            data = [[finite(row.get(str(column))) for column in columns] for row in rows]
            self._run.log({"results": self._wandb.Table(columns=columns, data=data)})
        self._run.summary.update(finite(summary))
        self._run.finish(exit_code=exit_code)
