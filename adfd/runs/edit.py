"""The main job: makes, for every target age and photo, an anchor, its edits, their readings and a contact sheet."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from tqdm.contrib.logging import logging_redirect_tqdm

from adfd.basics.errors import AdfdError, describe, unwritable
from adfd.basics.files import Row
from adfd.faces.people import People
from adfd.methods.anchors import Anchors
from adfd.methods.refine import Sample
from adfd.runs.background import Background
from adfd.runs.directory import RunDirectory
from adfd.runs.making import Making
from adfd.runs.pasting import Pasting
from adfd.runs.ranks import Ranks
from adfd.runs.readings import all_failed, blank_row, doubtful, read_output, summary
from adfd.runs.showing import Showing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Edit:
    """One job: outputs of a method for every person at every target age, written to a run directory."""

    people: People
    making: Making
    run: RunDirectory
    showing: Showing
    ranks: Ranks
    photos_per_batch: int
    background: Background
    pasting: Pasting | None = None
    """Pastes outputs into their photos; None for no pasting."""

    def everybody(self, target_ages: list[float]) -> dict[str, Any]:
        """Edit all people at all target ages (years).

        Returns the summary over all ranks' rows on the first rank, an empty one on the others. An output that fails
        becomes a row with the reason, and the run continues; where all outputs fail, the run's status is failed.
        """
        started, status, n = time.perf_counter(), "failed", len(self.people.sources)
        told: dict[str, Any] = {}
        try:
            with self.ranks.precision(), logging_redirect_tqdm():
                for target_age in target_ages:
                    for first in range(0, n, self.photos_per_batch):
                        self.batch(slice(first, min(first + self.photos_per_batch, n)), target_age)
                    if self.pasting:
                        self.pasting.together(target_age)
                if len(target_ages) > 1:
                    self.showing.lifespans(self.people.sources.names, sorted(target_ages))
                self.background.wait()
            status = "finished"
            self.ranks.wait()
        except (KeyboardInterrupt, SystemExit):  # SystemExit where Slurm requeues the job
            status = "interrupted"
            raise
        finally:
            if self.ranks.first:
                self.run.reload()  # with what other ranks wrote
                reason = all_failed(self.run.rows) if status == "finished" else ""
                status = "failed" if reason else status
                seconds = time.perf_counter() - started
                told = summary(self.making.networks, self.run, self.people, status, seconds) | {"reason": reason}
                self.run.save_summary(told)
            self.showing.finish(told, exit_code=int(status != "finished"))
        return told

    def batch(self, rows: slice, target_age: float) -> None:
        """Edit the people `rows` at one age; where a batch of several fails, edit each alone to isolate the failure."""
        names = self.people.sources.names[rows]
        wanted = [
            (row, output)
            for row, name in enumerate(names)
            for output in range(self.making.n_outputs)
            if not self.run.done(name, target_age, output)
        ]
        if skipped := len(names) * self.making.n_outputs - len(wanted):
            log.info("age %g: %d outputs were finished by an earlier start", target_age, skipped)
        try:
            if wanted:
                self._make(self.making.anchors(rows.start, rows.stop, target_age), wanted, target_age)
        except Exception as error:
            if unwritable(error):
                raise  # the failure itself could not be recorded
            if len(names) > 1:
                log.warning("%s; trying its %d photos one by one", describe(error), len(names))
                for row in range(rows.start, rows.stop):
                    self.batch(slice(row, row + 1), target_age)
                return
            if not isinstance(error, AdfdError):
                log.exception("%s at age %g failed", names[0], target_age)
            for _, output in wanted:
                if not self.run.done(names[0], target_age, output):
                    self._record(blank_row(self.making, names[0], target_age, output) | {"reason": describe(error)})
        if self.pasting:
            self.pasting.outputs(names, target_age)
        for name in names:
            self.showing.sheet(name, target_age)

    def _make(self, anchors: Anchors, wanted: list[tuple[int, int]], target_age: float) -> None:
        """Make the `wanted` outputs, (row of the anchors, output); measure and store each as it finishes."""
        for warning in doubtful(self.making.networks, anchors):
            log.warning(warning)
        try:
            for row in {row for row, _ in wanted}:
                self._keep_references(anchors, row, target_age)
            for sample in self.making.samples(anchors, wanted, target_age, on_step=self.showing.step):
                self._keep_candidates(anchors.sources.names[sample.row], target_age, sample)
                read, img = read_output(self.making, anchors, sample, target_age)
                self.background.add(partial(self._written, read, sample.s, img), then=self._record)
        finally:
            self.background.wait()  # also where the run was interrupted: what is made is not lost

    def _written(self, read: Row, s: Tensor, img: Tensor | None) -> Row:
        """Write an output's code and picture, if there is one; returns the row with the picture's path."""
        if img is None:
            return read
        name = f"{read['photo']}_age{read['target_age']:g}_{read['output']}"
        self.run.save_latent(name, s)
        return read | {"image": self.run.save_image(name, img)}

    def _keep_references(self, anchors: Anchors, row: int, target_age: float) -> None:
        """Write the source and the anchor at full resolution, unless their files exist."""
        name = anchors.sources.names[row]
        if not self.run.has_image(f"{name}_source"):
            if crop := self.people.crop(name):
                self.run.copy_image(f"{name}_source", crop)
            else:
                img = self.making.render_source(anchors, row)
                self.background.add(partial(self.run.save_image, f"{name}_source", img))
        if not self.run.has_image(f"{name}_age{target_age:g}_anchor"):
            img = self.making.render_anchor(anchors, row)
            self.background.add(partial(self.run.save_image, f"{name}_age{target_age:g}_anchor", img))

    def _keep_candidates(self, photo: str, target_age: float, sample: Sample) -> None:
        for told in sample.candidates:
            self.run.append_candidate({"photo": photo, "target_age": target_age, "output": sample.output} | told)

    def _record(self, row: Row) -> None:
        """Append a finished or failed row, with the path of its photo, and show it."""
        row = row | {"file": self.people.file(row["photo"])}
        self.run.append(row)
        self.showing.row(row)
