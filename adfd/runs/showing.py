"""What a run shows during and after its work: log lines, trackers, contact sheets, strips and animations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from PIL import Image

from adfd.basics import progress
from adfd.basics.errors import describe, unwritable
from adfd.basics.files import Row, atomic
from adfd.runs.animation import Animation, animate
from adfd.runs.background import Background
from adfd.runs.directory import RunDirectory
from adfd.runs.making import Making
from adfd.runs.sheets import Tile, mark, outputs_sheet, render_sheet
from adfd.runs.tracking import Tracker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Showing:
    """Shows the progress and results of one run; all its data are also in the run directory."""

    making: Making
    run: RunDirectory
    trackers: list[Tracker]
    every_n_steps: int
    animation: Animation
    background: Background

    def step(self, photo: str, target_age: float, output: int, step: int, losses: dict[str, float]) -> None:
        """Record losses and age of every n-th refinement step."""
        if step % self.every_n_steps:
            return
        row = {"photo": photo, "target_age": target_age, "output": output, "step": step} | losses
        self.run.append_step(row)
        for tracker in self.trackers:
            tracker.step(row)

    def row(self, row: Row) -> None:
        """Log a finished or failed row, and pass its numbers to every tracker."""
        if row["status"] == "ok":
            log.info(
                "%(photo)s at %(target_age)g, output %(output)d: reads %(age).1f, identity %(id_similarity_source).2f "
                "to source and %(id_similarity_anchor).2f to anchor, %(steps)d steps, %(seconds).1f s",
                row,
            )
        else:
            log.warning("%(photo)s at %(target_age)g, output %(output)d failed: %(reason)s", row)
        for tracker in self.trackers:
            tracker.output(row)

    def sheet(self, photo: str, target_age: float) -> None:
        """Write the contact sheet of one photo and age: source, anchor, outputs."""
        rows = self.run.outputs(photo, target_age)
        if not rows:
            return
        self._save_sheet(f"{photo}_age{target_age:g}", partial(outputs_sheet, self.run.path, rows))

    def _save_sheet(self, name: str, draw: Callable[[], Image.Image]) -> None:
        path = self.run.path / "sheets" / f"{name}.png"

        def save() -> None:
            with atomic(path) as stream:
                draw().save(stream, "PNG", compress_level=1)

        def track(_: None) -> None:
            for tracker in self.trackers:
                tracker.sheet(name, path)

        self.background.add(save, then=track)

    def lifespans(self, photos: Sequence[str], target_ages: list[float]) -> None:
        """For each photo, write the strip of all ages, if there is one output per age, and each output's animation."""
        n_outputs = self.making.n_outputs
        lives = {photo: [self.run.outputs(photo, age) for age in target_ages] for photo in photos}
        for photo, life in lives.items() if n_outputs == 1 else ():
            self._strip(photo, [row for rows in life for row in rows])
        for photo, life in lives.items() if self.animation.formats else ():
            for output in range(n_outputs):
                rows = [row for rows in life for row in rows if row["output"] == output]
                name = photo if n_outputs == 1 else f"{photo}_{output}"
                try:
                    self._animate(name, [f"{photo}_age{row['target_age']:g}_{output}" for row in rows])
                except Exception as error:
                    if unwritable(error):
                        raise
                    log.exception("the animation of %s failed: %s", name, describe(error))

    def _strip(self, photo: str, rows: list[Row]) -> None:
        """Write a sheet of the source and its outputs at all ages, youngest first."""
        if not rows:
            return
        source = self.run.path / f"images/{photo}_source.png"
        tiles = [Tile(source, "source", f"reads {rows[0]['source_age']:.0f} years")]
        for row in rows:
            detail = f"reads {row['age']:.1f}, identity {row['id_similarity_source']:.2f}"
            tiles.append(Tile(self.run.path / row["image"], f"at {row['target_age']:g} years", detail, mark(row)))
        title = f"{photo}, {self.making.method_name} over the ages"
        self._save_sheet(f"{photo}_lifespan", partial(render_sheet, title, tiles))

    def _animate(self, name: str, codes: list[str]) -> None:
        """Write the animation through the codes of these names, unless an animation at least as new exists."""
        if len(codes) < 2:
            log.warning("no animation of %s: it needs outputs at two ages, and has %d", name, len(codes))
            return
        latents = [self.run.path / f"latents/{code}.npz" for code in codes]
        target = self.run.path / "animations" / name
        files = [target.with_name(f"{name}.{suffix}") for suffix in self.animation.formats]
        newest = max(path.stat().st_mtime for path in latents)
        if not all(file.exists() and file.stat().st_mtime >= newest for file in files):
            networks = self.making.networks
            s = torch.stack([self.run.load_latent(code) for code in codes]).to(networks.device)
            total = (len(codes) - 1) * self.animation.frames_per_step + 1
            with progress.bar(total=total, desc=f"animate {name}", unit="frame") as bar:
                files = animate(networks, s, self.animation, target, on_frame=bar.update)
            log.info("%s: %s", name, ", ".join(file.name for file in files))
        for tracker in self.trackers:
            for file in files:
                tracker.video(f"{name}_{file.suffix[1:]}", file)

    def finish(self, summary: dict[str, Any], exit_code: int) -> None:
        """Close every tracker; `exit_code` 0 for a finished run."""
        for tracker in self.trackers:
            tracker.finish(summary, self.run.rows, exit_code)
