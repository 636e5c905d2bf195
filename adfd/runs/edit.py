"""The main job: for every person and target age, an anchor, its edits, what the judges read on them, and a sheet."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from PIL import Image
from tqdm.contrib.logging import logging_redirect_tqdm

from adfd.basics import progress
from adfd.basics.errors import AdfdError, describe, disk_full
from adfd.basics.files import Row, atomic
from adfd.basics.pooling import pool
from adfd.basics.seeding import draw, output_seed
from adfd.faces.people import People
from adfd.faces.photos import as_img
from adfd.methods.acceptance import natural_spread, style_rms
from adfd.methods.anchors import Anchors
from adfd.methods.objective import TERMS
from adfd.methods.refine import Sample
from adfd.models.networks import Networks
from adfd.runs.animation import Animation, animate
from adfd.runs.directory import RunDirectory, mean, summarize
from adfd.runs.sheets import Tile, render_sheet
from adfd.runs.tracking import Tracker
from adfd.stylespace.regions import REGIONS, region_shares

log = logging.getLogger(__name__)

Method = Callable[..., Iterator[Sample]]


@dataclass
class Edit:
    """One job: `n_outputs` edits by a method of every person at every target age, written to a run directory."""

    networks: Networks
    people: People
    anchors: Callable[[int, int, float], Anchors]
    """Anchors of the people from one index to before another, at a target age."""
    method: Method
    method_name: str
    n_outputs: int
    seed: int
    run: RunDirectory
    trackers: list[Tracker]
    photos_per_batch: int
    every_n_steps: int
    precision: Callable[[], AbstractContextManager]
    wait_for_ranks: Callable[[], object]
    first_rank: bool
    animation: Animation
    references: tuple[str, ...] = ()
    """The reference photo of each output, where the method mixes references in."""

    def everybody(self, target_ages: list[float]) -> dict[str, Any]:
        """Edit everybody at every age; return the summary, on the first rank, which sees every rank's rows.

        What fails is a row with its reason; the rest goes on.
        """
        started, status, n = time.perf_counter(), "failed", len(self.people.sources)
        summary: dict[str, Any] = {}
        try:
            with self.precision(), logging_redirect_tqdm():
                for target_age in target_ages:
                    for first in range(0, n, self.photos_per_batch):
                        self.batch(slice(first, min(first + self.photos_per_batch, n)), target_age)
                if len(target_ages) > 1:
                    self._lifespans(sorted(target_ages))
            status = "finished"
            self.wait_for_ranks()
        except (KeyboardInterrupt, SystemExit):  # the latter where Slurm starts the job again
            status = "interrupted"
            raise
        finally:
            if self.first_rank:
                self.run.reload()  # with what other ranks wrote
                summary = self.summary(status, time.perf_counter() - started)
                self.run.save_summary(summary)
            for tracker in self.trackers:
                tracker.finish(summary, self.run.rows, exit_code=int(status != "finished"))
        return summary

    def batch(self, rows: slice, target_age: float) -> None:
        """Edit some people at one age; where that fails for several, each alone, to spare the others."""
        names = self.people.sources.names[rows]
        wanted = [
            (row, output)
            for row, name in enumerate(names)
            for output in range(self.n_outputs)
            if not self.run.done(name, target_age, output)
        ]
        if skipped := len(names) * self.n_outputs - len(wanted):
            log.info("age %g: %d outputs are there from an earlier start", target_age, skipped)
        try:
            if wanted:
                self._make(self.anchors(rows.start, rows.stop, target_age), wanted, target_age)
        except Exception as error:
            if disk_full(error):
                raise  # nothing more can be written, not even this failure
            if len(names) > 1:
                log.warning("%s; trying its %d photos one by one", describe(error), len(names))
                for row in range(rows.start, rows.stop):
                    self.batch(slice(row, row + 1), target_age)
                return
            if not isinstance(error, AdfdError):
                log.exception("%s at age %g failed", names[0], target_age)
            for _, output in wanted:
                if not self.run.done(names[0], target_age, output):
                    self._record(self._row(names[0], target_age, output) | {"reason": describe(error)})
        for name in names:
            self._sheet(name, target_age)

    def _make(self, anchors: Anchors, wanted: list[tuple[int, int]], target_age: float) -> None:
        """Run the method and write every sample as it finishes."""
        self._doubt(anchors, target_age)
        for row in {row for row, _ in wanted}:
            self._save_references(anchors, row, target_age)
        draws = draw(self.seed, anchors.sources.names, wanted, self.networks.generator.w_dim).to(self.networks.device)
        refinement = getattr(self.method, "keywords", {}).get("refinement")
        expected = refinement.max_steps + 1 if refinement else 1
        title = f"{self.method_name} at {target_age:g}"
        with progress.bar(total=expected * len(wanted), desc=title, unit="step") as bar:
            shown: dict[int, dict[str, float]] = {}

            def on_step(sample: Sample, step: int, losses: dict[str, float]) -> None:
                shown[id(sample)] = losses
                bar.set_postfix_str(state(list(shown.values())), refresh=False)
                bar.update()
                if step % self.every_n_steps == 0:
                    self._track_step(anchors.sources.names[sample.row], target_age, sample.output, step, losses)

            for sample in self.method(self.networks, anchors, draws, on_step=on_step):
                bar.total += sample.evaluations - expected
                bar.update(sample.searched)
                self._keep_candidates(anchors.sources.names[sample.row], target_age, sample)
                bar.refresh()
                shown.pop(id(sample), None)
                self._record(self._measure(anchors, sample, target_age))

    def _keep_candidates(self, photo: str, target_age: float, sample: Sample) -> None:
        for told in sample.candidates:
            self.run.append_candidate({"photo": photo, "target_age": target_age, "output": sample.output} | told)

    def _doubt(self, anchors: Anchors, target_age: float) -> None:
        """Say which anchors the age judge is unsure of: more than nine in ten natural faces of their age."""
        for name, age, spread in zip(anchors.sources.names, anchors.age.tolist(), anchors.spread.tolist(), strict=True):
            limit = natural_spread(self.networks.channels, age)
            if limit is not None and spread > limit:
                text = "the anchor of %s at %g is doubtful: its age reads %.1f, but differs by %.1f years between views"
                log.warning(text + " (natural faces: up to %.1f)", name, target_age, age, spread, limit)

    def _save_references(self, anchors: Anchors, row: int, target_age: float) -> None:
        """Write the source and the anchor at full resolution."""
        name = anchors.sources.names[row]
        if not self.run.has_image(f"{name}_source"):
            crop = self.people.crop(name)
            if crop:
                with atomic(self.run.path / f"images/{name}_source.png") as stream:
                    stream.write(crop.read_bytes())
            else:
                self.run.save_image(f"{name}_source", self._synthesize(anchors.sources.w_plus[row], w_plus=True))
        if not self.run.has_image(f"{name}_age{target_age:g}_anchor"):
            self.run.save_image(f"{name}_age{target_age:g}_anchor", self._synthesize(anchors.s[row]))

    @torch.inference_mode()
    def _synthesize(self, code: torch.Tensor, w_plus: bool = False) -> torch.Tensor:
        s = self.networks.affine(code[None]) if w_plus else code[None]
        return self.networks.synthesis(s)[0]

    def _row(self, photo: str, target_age: float, output: int) -> Row:
        """A row before anything is known; what stays unknown stays null."""
        return {
            "photo": photo,
            "output": output,
            "method": self.method_name,
            "reference": self.references[output] if self.references else None,
            "target_age": target_age,
            "status": "failed",
            "reason": "",
            **dict.fromkeys(("source_age", "anchor_age", "age", "id_similarity_source", "id_similarity_anchor")),
            **dict.fromkeys(("p_female", "loss", *(f"loss_{term}" for term in TERMS))),
            **dict.fromkeys(("alpha", "steps", "evaluations", "seconds", "converged")),
            **dict.fromkeys(("age_spread", "anchor_spread", "style_rms", "reached", "draws")),
            **{f"change_{region}": None for region in REGIONS},
            "seed": self.seed,
            "output_seed": output_seed(self.seed, photo, output),
            "image": None,
        }

    @torch.inference_mode()
    def _measure(self, anchors: Anchors, sample: Sample, target_age: float) -> Row:
        """Render a finished sample, read the judges on it, and write picture and code."""
        networks, sources, i = self.networks, anchors.sources, sample.row
        row = self._row(sources.names[i], target_age, sample.output)
        row |= {
            "source_age": sources.age[i].item(),
            "anchor_age": anchors.age[i].item(),
            "loss": sample.losses.get("loss"),
            **{f"loss_{term}": sample.losses.get(term) for term in TERMS},
            "alpha": sample.losses.get("alpha"),
            "steps": sample.steps,
            "evaluations": sample.evaluations,
            "seconds": round(sample.seconds, 3),
            "converged": sample.converged,
            "anchor_spread": anchors.spread[i].item(),
            "reached": sample.reached,
            "draws": sum(told["attempt"] != "steps" for told in sample.candidates) or 1,
            "reason": sample.failure,
        }
        if sample.failure:
            return row
        img = networks.synthesis(sample.s[None])
        pooled = pool(img)
        embedding = networks.embed(pooled)[0]
        age, spread = (reading.item() for reading in networks.read_age(pooled))
        shares = region_shares(pooled[0] - anchors.img[i])
        if not math.isfinite(age):
            return row | {"reason": "the judges read no finite number on the picture"}
        name = f"{sources.names[i]}_age{target_age:g}_{sample.output}"
        self.run.save_latent(name, sample.s)
        return row | {
            "status": "ok",
            "age": age,
            "age_spread": spread,
            "style_rms": style_rms(networks, sample.s),
            "id_similarity_source": networks.id_similarity(embedding, sources.embedding[i]).item(),
            "id_similarity_anchor": networks.id_similarity(embedding, anchors.embedding[i]).item(),
            "p_female": networks.gender(pooled).exp()[0, 0].item(),
            **{f"change_{region}": share for region, share in zip(REGIONS, shares.tolist(), strict=True)},
            "image": self.run.save_image(name, img[0]),
        }

    def _record(self, row: Row) -> None:
        """Append a finished or failed row, and show it."""
        self.run.append(row)
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

    def _track_step(self, photo: str, target_age: float, output: int, step: int, losses: dict[str, float]) -> None:
        row = {"photo": photo, "target_age": target_age, "output": output, "step": step} | losses
        self.run.append_step(row)
        for tracker in self.trackers:
            tracker.step(row)

    def outputs(self, photo: str, target_age: float) -> list[Row]:
        """Finished rows of one photo and age, by output."""
        rows = [row for row in self.run.rows if row["status"] == "ok"]
        rows = [row for row in rows if (row["photo"], row["target_age"]) == (photo, target_age)]
        return sorted(rows, key=lambda row: row["output"])

    def _sheet(self, photo: str, target_age: float) -> None:
        """Contact sheet of one photo and age."""
        rows = self.outputs(photo, target_age)
        if not rows:
            return
        images = self.run.path / "images"
        first = rows[0]
        tiles = [
            Tile(images / f"{photo}_source.png", "source", f"reads {first['source_age']:.0f} years"),
            Tile(images / f"{photo}_age{target_age:g}_anchor.png", "anchor", f"reads {first['anchor_age']:.0f} years"),
        ]
        for row in rows:
            detail = f"identity {row['id_similarity_source']:.2f}, to anchor {row['id_similarity_anchor']:.2f}"
            heading = f"reads {row['age']:.1f} years" + (", not reached" if row.get("reached") is False else "")
            heading += f", {row['reference'][:16]}" if self.references else ""
            tiles.append(Tile(self.run.path / row["image"], heading, detail))
        self._save_sheet(f"{photo}_age{target_age:g}", f"{photo}, {self.method_name} at {target_age:g}", tiles)

    def _save_sheet(self, name: str, title: str, tiles: list[Tile]) -> None:
        path = self.run.path / "sheets" / f"{name}.png"
        with atomic(path) as stream:
            render_sheet(title, tiles).save(stream, "PNG")
        for tracker in self.trackers:
            tracker.sheet(name, path)

    def _lifespans(self, target_ages: list[float]) -> None:
        """All ages of each photo side by side, where there is one output of each; and in motion, output by output."""
        lives = {photo: [self.outputs(photo, age) for age in target_ages] for photo in self.people.sources.names}
        for photo, life in lives.items() if self.n_outputs == 1 else ():
            self._strip(photo, [row for rows in life for row in rows])
        for photo, life in lives.items() if self.animation.formats else ():
            for output in range(self.n_outputs):
                rows = [row for rows in life for row in rows if row["output"] == output]
                name = photo if self.n_outputs == 1 else f"{photo}_{output}"
                try:
                    self._animate(name, [f"{photo}_age{row['target_age']:g}_{output}" for row in rows])
                except Exception as error:
                    if disk_full(error):
                        raise
                    log.exception("the animation of %s failed: %s", name, describe(error))

    def _strip(self, photo: str, rows: list[Row]) -> None:
        """The source and its outputs at all ages, youngest first, on one sheet."""
        if not rows:
            return
        source = self.run.path / f"images/{photo}_source.png"
        tiles = [Tile(source, "source", f"reads {rows[0]['source_age']:.0f} years")]
        for row in rows:
            detail = f"reads {row['age']:.1f}, identity {row['id_similarity_source']:.2f}"
            tiles.append(Tile(self.run.path / row["image"], f"at {row['target_age']:g} years", detail))
        self._save_sheet(f"{photo}_lifespan", f"{photo}, {self.method_name} over the ages", tiles)

    def _animate(self, name: str, codes: list[str]) -> None:
        """Write the animation through the codes of these names, unless it is there and no older than they are."""
        if len(codes) < 2:
            log.warning("no animation of %s: %d of its ages is there, two are needed", name, len(codes))
            return
        latents = [self.run.path / f"latents/{code}.npz" for code in codes]
        target = self.run.path / "animations" / name
        files = [target.with_name(f"{name}.{suffix}") for suffix in self.animation.formats]
        newest = max(path.stat().st_mtime for path in latents)
        if not all(file.exists() and file.stat().st_mtime >= newest for file in files):
            s = torch.stack([self.run.load_latent(code) for code in codes]).to(self.networks.device)
            total = (len(codes) - 1) * self.animation.frames_per_step + 1
            with progress.bar(total=total, desc=f"animate {name}", unit="frame") as bar:
                files = animate(self.networks, s, self.animation, target, on_frame=bar.update)
            log.info("%s: %s", name, ", ".join(file.name for file in files))
        for tracker in self.trackers:
            for file in files:
                tracker.video(f"{name}_{file.suffix[1:]}", file)

    @torch.inference_mode()
    def diversity(self) -> list[float]:
        """Mean pairwise perceptual distance between the outputs of one photo at one age, for each with several."""
        groups = dict.fromkeys((row["photo"], row["target_age"]) for row in self.run.rows)
        values = []
        for photo, target_age in groups:
            rows = self.outputs(photo, target_age)
            if len(rows) > 1:
                img = torch.cat([as_img(Image.open(self.run.path / row["image"])) for row in rows])
                features = self.networks.perceptual.features(pool(img.to(self.networks.device)))
                a, b = (list(side) for side in zip(*combinations(range(len(rows)), 2), strict=True))
                distance = self.networks.perceptual.distance([f[a] for f in features], [f[b] for f in features])
                values.append(distance.mean().item())
        return values

    def summary(self, status: str, seconds: float) -> dict[str, Any]:
        """Means over the rows, and the photos that could not be used."""
        skipped = {face.name: face.reason for face in self.people.faces if face.status != "ready"}
        diversity = {"diversity_metric": self.networks.perceptual.name}
        return summarize(self.run.rows, self.diversity(), status, seconds) | diversity | {"skipped_photos": skipped}


def state(shown: list[dict[str, float]]) -> str:
    """Mean loss and the ages of the samples under way, for the progress bar."""
    loss = mean([losses.get("loss") for losses in shown])
    ages = " ".join(f"{losses['age']:.0f}" for losses in shown[:6])
    return (f"loss {loss:.4f}, " if loss is not None else "") + f"ages {ages}"
