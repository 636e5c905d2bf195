"""The content of a run's page as plain data: a `View`, all that the template receives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from adfd.basics.files import Row
from adfd.evaluation.jobs import Job

UNKNOWN = "–"
FLAGS = {"not-reached": "not reached", "disagreement": "judges disagree", "doubtful": "doubtful anchor"}
"""Warnings on outputs: the search did not reach the target age, the independent judges' age differs by more than 10
years, or the loop's age judge is uncertain on the anchor."""


@dataclass(frozen=True)
class Picture:
    """A picture on the page; its data are embedded where it first appears."""

    id: str
    uri: str
    reason: str = ""
    """The reason why the picture is missing."""
    again: bool = False
    """True where the picture is embedded earlier on the page."""


@dataclass(frozen=True)
class Output:
    """A finished output, with the paths of its pictures."""

    job: Job
    number: int
    """Index of the job, from 0."""
    row: Row

    @property
    def image(self) -> Path:
        return self.job.directory / str(self.row["image"])

    @property
    def source(self) -> Path:
        return self.job.directory / f"images/{self.row['photo']}_source.png"

    @property
    def anchor(self) -> Path:
        return self.job.directory / f"images/{self.row['photo']}_age{self.row['target_age']:g}_anchor.png"


@dataclass(frozen=True)
class Cell:
    text: str
    detail: str = ""
    value: str | None = None
    """Sort key; None where it is the text. Cells with an empty key come last."""
    best: bool = False
    bad: bool = False
    link: str = ""


@dataclass(frozen=True)
class Column:
    title: str
    unit: str = ""
    numeric: bool = False
    first: str = "ascending"
    """Direction in which the first click sorts."""


@dataclass(frozen=True)
class Table:
    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    foot: list[list[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Facet:
    """A property by which the faces can be filtered and sorted."""

    title: str
    values: list[str]


@dataclass(frozen=True)
class Reference:
    """A source or an anchor beside the outputs made from it."""

    kind: str
    picture: Picture
    age: str
    independent: str
    """The panel's age as shown; empty where it was not measured."""
    jobs: list[str]
    """Names of the jobs that used it; empty where all did."""


@dataclass(frozen=True)
class Face:
    job: str
    number: int
    """Index of the job, from 0."""
    label: str
    """The overrides in which the job differs from the others."""
    method: str
    output: int
    picture: Picture
    source: str
    anchor: str
    """`source` and `anchor` are ids of pictures."""
    readings: dict[str, str]
    """Age, its error, identity to source and to anchor, as shown."""
    sort_values: dict[str, str]
    """The readings in full precision; empty where unknown."""
    independent: str
    """The panel's age as shown; empty where it was not measured."""
    flags: list[str]
    """The FLAGS that apply."""
    details: dict[str, str]
    facets: list[int]
    """For each facet the index of this face's value."""


@dataclass(frozen=True)
class Group:
    """The faces of one photo at one target age."""

    photo: str
    target_age: str
    references: list[Reference]
    faces: list[Face]


@dataclass(frozen=True)
class Block:
    """A job's command, configuration and status."""

    name: str
    label: str
    status: str
    reason: str
    directory: str
    command: str
    config: str
    """The job's configuration as YAML."""


@dataclass(frozen=True)
class View:
    """The content of the page."""

    title: str
    note: str
    facts: dict[str, str]
    judges: dict[str, str]
    common: list[str]
    """The overrides that all jobs share."""
    tables: list[Table]
    facets: list[Facet]
    flags: dict[str, int]
    """Number of faces on the page with each flag, for flags that occur."""
    groups: list[Group]
    n_faces: int
    n_left_out: int
    """Number of faces that are not on the page."""
    failures: Table
    skipped: Table
    jobs: list[Block]
    refresh: int = 0
    """Seconds after which the page reloads itself; 0 for a complete one."""


def number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
