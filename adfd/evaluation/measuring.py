"""Measures, once, what a run's rows lack on its pictures and codes; kept in `measurements.jsonl`.

One line per output and set of judges. A line counts as long as the outputs of its photo and age are those of which it
was made, which it knows by the ages that the run's own rows hold; rows are never changed.
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
from adfd.runs.directory import row_key

log = logging.getLogger(__name__)

FILE = "measurements.jsonl"
INDEPENDENT = "independent"
"""Stands for the judges' names on lines of the independent ones."""
KEYS = ("photo", "target_age", "output")
Group = list[Row]
"""The finished outputs of one photo at one target age, by output."""


class Unread(NamedTuple):
    """A group of which something is still to be measured."""

    group: Group
    by_stack: bool
    """Whether the stack's judges have not read it."""
    by_independent: bool
    """Whether the independent judges have not."""


@dataclass(frozen=True)
class Measuring:
    """How the pictures of a run are measured."""

    judges: Callable[[], Networks]
    """The stack whose judges read the pictures; loaded at the first need."""
    names: dict[str, str]
    """The judges' names, for labels."""
    stack: Callable[[], Networks] | None
    """The stack that made the pictures, to edit outputs back to the source's age; None where cyclic identity is off."""
    own: dict[str, str]
    """Who its judges are: what they read stands in the rows."""
    batch_size: int
    """Pictures that a network takes at once."""
    independent: Independent | None = None
    """Judges that no stack knows; None where they are not asked."""

    @property
    def labels(self) -> dict[str, str]:
        """All judges by their roles, the independent ones first."""
        return (self.independent.names if self.independent else {}) | self.names

    def pending(self, directory: Path, rows: Sequence[Row]) -> list[Unread]:
        """The groups of which something is still to be measured."""
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
        """Measure a group and keep what was read. A missing or broken picture leaves it unmeasured, with a warning."""
        for judges, values in self._readings(directory, *unread):
            self._keep(directory, unread.group, judges, values)

    def _readings(
        self, directory: Path, group: Group, by_stack: bool, by_independent: bool
    ) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
        """What is not known yet of a group, by judges: the stack's, then the independent ones."""
        try:
            if by_stack:
                # not in inference mode: others take gradients
                networks = self.judges(), self.stack() if self.stack else None
                yield self.names, self._read(directory, group, *networks)
            if self.independent and by_independent:
                pictures = _pictures(directory, group, torch.device("cpu"))
                yield INDEPENDENT, self.independent.read(*pictures)
        except FileNotFoundError as error:
            log.warning("not measured: %s is missing", error.filename)
        except (OSError, ValueError, KeyError, Image.DecompressionBombError) as error:  # what broken files come to
            log.warning("not measured: a file of %s cannot be read (%s)", group[0]["photo"], error)

    def _keep(self, directory: Path, group: Group, judges: Any, values: list[dict[str, Any]]) -> None:
        end_line(directory / FILE)
        for row, measured in zip(group, values, strict=True):
            where = {key: row[key] for key in KEYS}
            append_line(directory / FILE, where | {"judges": judges, "of": fingerprint(group)} | measured)

    def complete(self, directory: Path, rows: Sequence[Row]) -> list[Row]:
        """Rows with what was measured in place of, or beside, the run's own readings."""
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
        """Rows with what follows from the independent judges' readings."""
        assert self.independent is not None
        judged = {row_key(row): row for group in groups(rows) for row in self.independent.complete(group)}
        return [judged.get(row_key(row), row) for row in rows]

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
        """Columns of the rows that other judges than these have read."""
        columns = {
            "age": ("source_age", "anchor_age", "age"),
            "identity": ("id_similarity_source", "id_similarity_anchor"),
            "gender": ("p_female",),
        }
        return [name for judge, group in columns.items() if self.own[judge] != self.names[judge] for name in group]

    @torch.inference_mode()
    def _read(self, directory: Path, group: Group, judges: Networks, stack: Networks | None) -> list[dict[str, Any]]:
        unread = self._foreign()
        img, references = _pictures(directory, group, judges.device)
        columns = {"sharpness": sharpness(img)}
        if "source" in references:
            columns["p_female_source"] = judges.gender(references["source"]).exp()[:, 0]
        if "p_female" in unread:
            columns["p_female"] = self._each(judges.gender, img).exp()[:, 0]
        if "age" in unread:
            columns |= {f"{role}_age": judges.age(reference) for role, reference in references.items()}
            columns["age"] = self._each(judges.age, img)
        if "id_similarity_source" in unread:
            embedding = self._each(judges.embed, img)
            for role, reference in references.items():
                columns[f"id_similarity_{role}"] = judges.id_similarity(embedding, judges.embed(reference))
        if len(group) > 1:
            columns["diversity"] = distances_to_others(judges.perceptual, img, self.batch_size)
        if stack and "source" in references:
            columns |= self._cyclic(directory, group, img, references["source"], judges, stack)
        values = {name: column.expand(len(group)).tolist() for name, column in columns.items()}
        cyclic = {"id_similarity_cyclic": None} if stack else {}  # tried, where it could not be had
        return [cyclic | {name: column[i] for name, column in values.items()} for i in range(len(group))]

    def _each(self, network: Callable[[Tensor], Tensor], img: Tensor) -> Tensor:
        return torch.cat([network(part) for part in img.split(self.batch_size)])

    def _cyclic(
        self, directory: Path, group: Group, img: Tensor, source: Tensor, judges: Networks, stack: Networks
    ) -> dict[str, Tensor]:
        """Identity similarity of the source and each output edited back to the age that was read on the source."""
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
    """A code `[C]` of a run. Raises ValueError where its file is damaged."""
    try:
        return torch.from_numpy(read_arrays(path)["s"])
    except AdfdError as error:
        raise ValueError(str(error)) from error


def edited_back(networks: Networks, img: Tensor, s: Tensor, age: Tensor, source_age: Tensor, batch_size: int) -> Tensor:
    """Codes `[N, C]` of outputs that the age transformer edits back to their sources' ages `[N]`, in years.

    `img` `[N, 3, 256, 256]` and `s` `[N, C]` are the outputs, `age` `[N]` what is read on them: they are treated as any
    other person's photos. A stack with an encoder reads the latents off the picture. A latent age path moves every
    latent by the same step, and styles are linear in w, so there the step of the mean latent is added to the output's
    own code, and nothing need be inverted.
    """
    if networks.has_encoder:
        parts = zip(img.split(batch_size), source_age.split(batch_size), strict=True)
        return torch.cat([networks.affine(networks.encode(*part)) for part in parts])
    average = networks.generator.w_avg.expand(len(s), networks.space.n_w_rows, -1)
    outputs = Sources(("",) * len(s), img, average, age, img.new_empty(len(s), 0))
    return s + networks.affine(networks.transform(outputs, source_age)) - networks.affine(average)


def _pictures(directory: Path, group: Group, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
    """The pooled pictures `[K, 3, 256, 256]` of a group, and those of its "source" and "anchor" that are there."""
    photo, target_age = group[0]["photo"], group[0]["target_age"]
    names = {"source": f"{photo}_source", "anchor": f"{photo}_age{target_age:g}_anchor"}
    files = {role: directory / f"images/{name}.png" for role, name in names.items()}
    references = {role: read_pictures([file], device) for role, file in files.items() if file.exists()}
    return read_pictures([directory / row["image"] for row in group], device), references


def groups(rows: Sequence[Row]) -> list[Group]:
    """Finished rows by photo and target age, each group in the order of its outputs."""
    ok = sorted((row for row in rows if row["status"] == "ok"), key=row_key)
    return [list(group) for _, group in groupby(ok, key=lambda row: row_key(row)[:2])]


def fingerprint(group: Group) -> list[float]:
    """The ages, in years, that the run read: a measurement with other ones is of earlier pictures."""
    return [row["age"] for row in group]


def read_pictures(paths: Sequence[Path], device: torch.device) -> Tensor:
    """Pictures as pooled images `[N, 3, 256, 256]`, where larger than that."""
    images = []
    for path in paths:
        with Image.open(path, formats=("PNG",)) as file:  # what a run writes
            images.append(pool(as_img(file.convert("RGB"))))
    return torch.cat(images).to(device)
