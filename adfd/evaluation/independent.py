"""The independent judges' readings of a run's outputs, as columns of its rows.

Raw readings are measured once and stored; calibrated ages and verdicts are computed from them at every evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adfd.basics.files import Row
from adfd.evaluation.calibration import Calibration
from adfd.evaluation.kernel_distance import packed
from adfd.evaluation.metrics import pairwise_distances
from adfd.evaluation.panel import Panel
from adfd.models.networks import Perceptual
from adfd.models.vgg16 import VggFeatures

JUDGES = ("faceres", "faceapi")
PASS_YEARS = 5.0
"""Years: an output passes where its panel age is within this of its anchor's and it shows the anchor's person."""
FLAG_YEARS = 10.0
"""Years: panel and loop disagree on an age where they differ by more than this."""


@dataclass(frozen=True)
class Independent:
    """The available independent judges, loaded at their first use, and their calibration."""

    panel: Callable[[], Panel] | None
    lpips: Callable[[], Perceptual] | None
    calibration: Calibration
    batch_size: int
    missing: tuple[str, ...] = ()
    """Names of the judges whose weights are missing."""
    in_loop_threshold: float | None = None
    """Similarity by the stack's own identity judge above which two faces are one person; None where unknown."""
    vgg16: Callable[[], VggFeatures] | None = None
    """Feature network of KID; None where its weights, or unedited faces of the generator, are missing."""

    @property
    def names(self) -> dict[str, str]:
        """The judges' names, by role, for labels."""
        panel = "faceres and face-api (calibrated to dlib's years)" if self.panel else "missing (make install fetches)"
        lpips = "LPIPS v0.1 AlexNet" if self.lpips else "missing (make install fetches it)"
        kid = {"kid": "VGG-16 features at 128 px, not Inception's, to unedited faces"} if self.vgg16 else {}
        kid |= {"kid": "missing (make install fetches it)"} if "VGG-16" in self.missing else {}
        return {"panel": panel, "lpips": lpips} | kid

    @property
    def parts(self) -> list[str]:
        """The kinds of readings in a measured line."""
        there = {"panel": self.panel, "lpips": self.lpips, "vgg16": self.vgg16}
        return [name for name, load in there.items() if load]

    @torch.no_grad()
    def read(self, img: Tensor, references: dict[str, Tensor]) -> list[dict[str, Any]]:
        """Raw readings of the outputs `[K, 3, H, W]` of one photo and age, one row each.

        `references` are the photo's "source" and "anchor" pictures, with which the outputs are compared.
        """
        rows: list[dict[str, Any]] = [{"independent": self.parts} for _ in img]
        if self.panel:
            panel = self.panel()
            reading = panel.read(img, self.batch_size)
            columns = {f"{judge}_age": getattr(reading, f"{judge}_age") for judge in JUDGES}
            columns["male"] = (reading.faceres_male + reading.faceapi_male) / 2
            for role, picture in references.items():
                known = panel.read(picture)
                columns |= {f"{judge}_age_{role}": getattr(known, f"{judge}_age") for judge in JUDGES}
                columns[f"male_{role}"] = (known.faceres_male + known.faceapi_male) / 2
                columns[f"id_independent_{role}"] = panel.similarity(reading.descriptor, known.descriptor)
            for name, values in columns.items():
                for row, value in zip(rows, values.expand(len(img)).tolist(), strict=True):
                    row[name] = value
        if self.lpips and len(img) > 1:
            distances = pairwise_distances(self.lpips(), img, self.batch_size).tolist()
            for row, line in zip(rows, distances, strict=True):
                row["lpips_to"] = line
        if self.vgg16:
            network = self.vgg16()
            for row, features in zip(
                rows, torch.cat([network(part) for part in img.split(self.batch_size)]), strict=True
            ):
                row["vgg16"] = packed(features)
        return rows

    def complete(self, group: Sequence[Row]) -> list[Row]:
        """Add calibrated ages, verdicts and diversity to the rows of one photo and age."""
        rows = [row | self._ages(row) for row in group]
        rows = [row | self._verdicts(row) for row in rows]
        return [row | diversity(i, rows) for i, row in enumerate(rows)]

    def _ages(self, row: Row) -> Row:
        columns: Row = {}
        for suffix in ("", "_anchor", "_source"):
            readings: dict[str, Any] = {judge: row.get(f"{judge}_age{suffix}") for judge in JUDGES}
            if None in readings.values():
                continue
            years = [float(self.calibration.years(judge, reading)) for judge, reading in readings.items()]
            columns[f"panel_age{suffix}"] = sum(years) / 2
            if not suffix:
                columns |= dict(zip((f"{judge}_years" for judge in JUDGES), years, strict=True))
                columns["panel_disagreement"] = abs(years[0] - years[1])
                supported = (self.calibration.supported(judge, reading) for judge, reading in readings.items())
                columns["panel_supported"] = float(all(supported))
        return columns

    def _verdicts(self, row: Row) -> Row:
        columns: Row = {}
        age = row.get("panel_age")
        if age is not None:
            columns["age_gap_requested_signed"] = age - row["target_age"]
            if row.get("age") is not None:
                columns["judges_disagree"] = float(abs(age - row["age"]) > FLAG_YEARS)
            if "panel_age_anchor" in row:
                columns["age_gap_signed"] = age - row["panel_age_anchor"]
        if row.get("id_independent_source") is not None:
            columns["verified"] = float(row["id_independent_source"] >= self.calibration.same_person)
        if self.in_loop_threshold is not None and row.get("id_similarity_source") is not None:
            columns["verified_in_loop"] = float(row["id_similarity_source"] >= self.in_loop_threshold)
        if "age_gap_signed" in columns and row.get("id_independent_anchor") is not None:
            same = row["id_independent_anchor"] >= self.calibration.same_person
            columns["recognised"] = float(same)
            columns["passes"] = float(same and abs(columns["age_gap_signed"]) <= PASS_YEARS)
        return columns


def diversity(i: int, rows: Sequence[Row]) -> Row:
    """LPIPS columns for output `i` of a photo and age.

    `lpips`: mean distance to the other outputs; `lpips_credited`: the same with 0 for pairs that do not both pass;
    `lpips_matched`: mean distance to the other outputs that pass, where this one passes.
    """
    distances = rows[i].get("lpips_to")
    if not distances or len(distances) != len(rows):
        return {}
    others = [j for j in range(len(rows)) if j != i]
    columns: Row = {"lpips": sum(distances[j] for j in others) / len(others)}
    passing = [j for j in others if rows[j].get("passes")]
    if "passes" in rows[i]:
        credited = sum(distances[j] for j in passing) if rows[i]["passes"] else 0.0
        columns["lpips_credited"] = credited / len(others)
        if rows[i]["passes"] and passing:
            columns["lpips_matched"] = sum(distances[j] for j in passing) / len(passing)
    return columns
