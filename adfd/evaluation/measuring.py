"""Measure the quantities that a run's rows do not have, from its pictures and codes; stored in `measurements.jsonl`.

One line per output and set of judges. A line is valid as long as the outputs of its photo and age are the ones that
were measured, identified by the ages in the run's own rows. The run's rows are never changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from adfd.basics.arrays import read_arrays
from adfd.basics.errors import AdfdError
from adfd.basics.files import Row, append_line, end_line, read_rows
from adfd.basics.pooling import pool
from adfd.evaluation.independent import Independent
from adfd.evaluation.metrics import distances_to_others, sharpness
from adfd.faces.photos import as_img
from adfd.models.networks import Networks
from adfd.models.sources import Sources
from adfd.models.views import ONE_VIEW, Views
from adfd.runs.directory import row_key

log = logging.getLogger(__name__)

FILE = "measurements.jsonl"
INDEPENDENT = "independent"
"""Value of `judges` in lines of the independent judges."""
KEYS = ("photo", "target_age", "output")
Group = list[Row]
"""The rows of the finished outputs of one photo at one target age, sorted by output."""


class Unread(NamedTuple):
    """A group with missing measurements."""

    group: Group
    by_stack: bool
    """True where readings of the stack's judges are missing."""
    by_independent: bool
    """True where readings of the independent judges are missing."""


@dataclass(frozen=True)
class Measuring:
    """Settings for measuring the pictures of a run."""

    judges: Callable[[], Networks]
    """Loads the stack whose judges read the pictures; called at the first measurement."""
    names: dict[str, str]
    """The judges' names, for labels."""
    stack: Callable[[], Networks] | None
    """Loads the run's own stack, which edits outputs back to the source's age; None where cyclic identity is off."""
    own: dict[str, str]
    """Names of the judges of the run's own stack, whose readings are in the run's rows."""
    batch_size: int
    """Pictures per batch of a network."""
    independent: Independent | None = None
    """The independent judges; None where they are not used."""
    views: Views = ONE_VIEW
    """Views over which ages are averaged: those of the run."""

    @property
    def labels(self) -> dict[str, str]:
        """Names of all judges by role, the independent ones first."""
        return (self.independent.names if self.independent else {}) | self.names

    def pending(self, directory: Path, rows: Sequence[Row]) -> list[Unread]:
        """The groups with missing measurements."""
        known = self._known(directory)
        looked_at = [
            Unread(
                group,
                by_stack=not all(self._is_known(row, group, known) for row in group),
                by_independent=not all(self._is_judged(row, group, known) for row in group),
            )
            for group in groups(rows)
        ]
        return [unread for unread in looked_at if unread.by_stack or unread.by_independent]

    def measure(self, directory: Path, unread: Unread) -> None:
        """Measure a group and store the readings. Where a picture is missing or damaged, only warn."""
        for judges, values in self._readings(directory, *unread):
            self._keep(directory, unread.group, judges, values)

    def _readings(
        self, directory: Path, group: Group, by_stack: bool, by_independent: bool
    ) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
        """The missing readings of a group, by judges: first the stack's, then the independent ones'."""
        try:
            pictures = _pictures(directory, group)
            if by_stack:
                # outside inference mode, since the loaded networks are also used with gradients
                networks = self.judges(), self.stack() if self.stack else None
                yield self.names, self._read(directory, group, *pictures, *networks)
            if self.independent and by_independent:
                yield INDEPENDENT, self.independent.read(*pictures)
        except FileNotFoundError as error:
            log.warning("not measured: %s is missing", error.filename)
        except (OSError, ValueError, KeyError, Image.DecompressionBombError) as error:  # errors of damaged files
            log.warning("not measured: a file of %s cannot be read (%s)", group[0]["photo"], error)

    def _keep(self, directory: Path, group: Group, judges: Any, values: list[dict[str, Any]]) -> None:
        end_line(directory / FILE)
        for row, measured in zip(group, values, strict=True):
            where = {key: row[key] for key in KEYS}
            append_line(directory / FILE, where | {"judges": judges, "of": fingerprint(group)} | measured)

    def complete(self, directory: Path, rows: Sequence[Row]) -> list[Row]:
        """Rows completed with the stored measurements, which replace the run's own readings where judges differ."""
        known, by_output = self._known(directory), dict[tuple, Group]()
        for group in groups(rows):
            by_output |= dict.fromkeys(map(row_key, group), group)
        unread = dict.fromkeys(self._foreign())
        hidden = {"judges", "of", "independent"} | (set() if self.stack else {"id_similarity_cyclic"})
        completed = []
        for row in rows:
            own_group = by_output.get(row_key(row))
            line = known.get(row_key(row), {})
            measured = line if own_group and line.get("of") == fingerprint(own_group) else {}
            completed.append(row | unread | {key: value for key, value in measured.items() if key not in hidden})
        return self._judged(completed) if self.independent else completed

    def _judged(self, rows: list[Row]) -> list[Row]:
        """Rows completed with the columns computed from the independent judges' readings."""
        assert self.independent is not None
        judged = {row_key(row): row for group in groups(rows) for row in self.independent.complete(group)}
        made = [judged.get(row_key(row), row) for row in rows]
        return [row | {"diversity": row["lpips"]} if self._is_lpips and "lpips" in row else row for row in made]

    def _known(self, directory: Path) -> dict[tuple, Row]:
        known = dict[tuple, Row]()
        for line in read_rows(directory / FILE):
            if line.get("judges") in (self.names, INDEPENDENT) and {*KEYS, "of"} <= line.keys():
                earlier = known.get(row_key(line), {})
                known[row_key(line)] = (earlier if earlier.get("of") == line["of"] else {}) | line
        return known

    def _is_known(self, row: Row, group: Group, known: dict[tuple, Row], cyclic: bool = True) -> bool:
        line = known.get(row_key(row))
        if line is None or line["of"] != fingerprint(group) or "sharpness" not in line:
            return False
        return not (cyclic and self.stack) or "id_similarity_cyclic" in line

    def _is_judged(self, row: Row, group: Group, known: dict[tuple, Row]) -> bool:
        if self.independent is None:
            return True
        line = known.get(row_key(row), {})
        return line.get("of") == fingerprint(group) and set(self.independent.parts) <= set(line.get("independent", ()))

    def _foreign(self) -> list[str]:
        """Columns of the rows that were read by judges other than the current ones."""
        columns = {
            "age": ("source_age", "anchor_age", "age"),
            "identity": ("id_similarity_source", "id_similarity_anchor"),
            "gender": ("p_female",),
        }
        return [name for judge, group in columns.items() if self.own[judge] != self.names[judge] for name in group]

    @torch.inference_mode()
    def _read(
        self,
        directory: Path,
        group: Group,
        img: Tensor,
        references: dict[str, Tensor],
        judges: Networks,
        stack: Networks | None,
    ) -> list[dict[str, Any]]:
        unread, img = self._foreign(), img.to(judges.device)
        references = {role: reference.to(judges.device) for role, reference in references.items()}
        columns = {"sharpness": sharpness(img)}
        if "source" in references:
            columns["p_female_source"] = judges.gender(references["source"]).exp()[:, 0]
        if "p_female" in unread:
            columns["p_female"] = self._each(judges.gender, img).exp()[:, 0]
        if "age" in unread:
            columns |= {f"{role}_age": self._age(judges, role, reference) for role, reference in references.items()}
            columns["age"] = self._age(judges, "", img)
        if "id_similarity_source" in unread:
            embedding = self._each(judges.embed, img)
            for role, reference in references.items():
                columns[f"id_similarity_{role}"] = judges.id_similarity(embedding, judges.embed(reference))
        if len(group) > 1 and not self._is_lpips:
            columns["diversity"] = distances_to_others(judges.perceptual, img, self.batch_size)
        if stack and "source" in references:
            columns |= self._cyclic(directory, group, img, references["source"], judges, stack)
        values = {name: column.expand(len(group)).tolist() for name, column in columns.items()}
        cyclic = {"id_similarity_cyclic": None} if stack else {}  # stays None where it cannot be had
        return [cyclic | {name: column[i] for name, column in values.items()} for i in range(len(group))]

    def _age(self, judges: Networks, role: str, img: Tensor) -> Tensor:
        """Ages `[N]` in years as a run reads them: of sources from one view, of outputs and anchors over its views."""
        return (ONE_VIEW if role == "source" else self.views).read(judges.age, img)[0]

    @property
    def _is_lpips(self) -> bool:
        """True where the stack's perceptual distance is the LPIPS that the independent judges measure as well."""
        independent = self.independent is not None and self.independent.lpips is not None
        return independent and self.names["diversity"] == "lpips"

    def _each(self, network: Callable[[Tensor], Tensor], img: Tensor) -> Tensor:
        return torch.cat([network(part) for part in img.split(self.batch_size)])

    def _cyclic(
        self, directory: Path, group: Group, img: Tensor, source: Tensor, judges: Networks, stack: Networks
    ) -> dict[str, Tensor]:
        """Identity similarity between the source and each output edited back to the source's estimated age."""
        names = [f"{row['photo']}_age{row['target_age']:g}_{row['output']}" for row in group]
        codes = [directory / f"latents/{name}.npz" for name in names]
        if not all(path.exists() for path in codes):
            return {}
        s = torch.stack([_code(path) for path in codes]).to(stack.device)
        age, source_age = (torch.tensor([row[key] for row in group]).to(s) for key in ("age", "source_age"))
        s = edited_back(stack, img, s, age, source_age, self.batch_size)
        back = self._each(judges.embed, stack.render(s, self.batch_size))
        return {"id_similarity_cyclic": judges.id_similarity(back, judges.embed(source))}


def _code(path: Path) -> Tensor:
    """Read an output's code `[C]`. Raises ValueError where the file is damaged."""
    try:
        return torch.from_numpy(read_arrays(path)["s"])
    except AdfdError as error:
        raise ValueError(str(error)) from error


def edited_back(networks: Networks, img: Tensor, s: Tensor, age: Tensor, source_age: Tensor, batch_size: int) -> Tensor:
    """Edit outputs back to their sources' ages `source_age` `[N]`, in years, with the age transformer: codes `[N, C]`.

    `img` `[N, 3, 256, 256]` and `s` `[N, C]` are the outputs, `age` `[N]` their estimated ages; they are treated as
    photos of new persons. A stack with an encoder encodes the picture. A latent age path moves every latent by the same
    step and styles are affine in w, so that the step's effect on the mean latent's code is added to the output's code,
    without an inversion.
    """
    if networks.has_encoder:
        parts = zip(img.split(batch_size), source_age.split(batch_size), strict=True)
        return torch.cat([networks.affine(networks.encode(*part)) for part in parts])
    average = networks.generator.w_avg.expand(len(s), networks.space.n_w_rows, -1)
    outputs = Sources(("",) * len(s), img, average, age, img.new_empty(len(s), 0))
    return s + networks.affine(networks.transform(outputs, source_age)) - networks.affine(average)


def _pictures(directory: Path, group: Group) -> tuple[Tensor, dict[str, Tensor]]:
    """The pooled pictures `[K, 3, 256, 256]` of a group, and its "source" and "anchor", where their files exist."""
    photo, target_age = group[0]["photo"], group[0]["target_age"]
    names = {"source": f"{photo}_source", "anchor": f"{photo}_age{target_age:g}_anchor"}
    files = {role: directory / f"images/{name}.png" for role, name in names.items()}
    references = {role: read_pictures([file]) for role, file in files.items() if file.exists()}
    return read_pictures([directory / row["image"] for row in group]), references


def groups(rows: Sequence[Row]) -> list[Group]:
    """Finished rows by photo and target age, each group in the order of its outputs."""
    ok = sorted((row for row in rows if row["status"] == "ok"), key=row_key)
    return [list(group) for _, group in groupby(ok, key=lambda row: row_key(row)[:2])]


def fingerprint(group: Group) -> list[float]:
    """The ages, in years, in the run's rows; a measurement with a different list belongs to earlier pictures."""
    return [row["age"] for row in group]


def read_pictures(paths: Sequence[Path]) -> Tensor:
    """Read pictures as images `[N, 3, H, W]` on the CPU, pooled to 256 px where larger."""
    images = []
    for path in paths:
        with Image.open(path, formats=("PNG",)) as file:  # the format that runs write
            images.append(pool(as_img(file.convert("RGB"))))
    return torch.cat(images)
