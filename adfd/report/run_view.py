"""What stands on a run's page, as plain data: the template gets a `View` and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from adfd.basics.files import Row
from adfd.evaluation.jobs import Job

UNKNOWN = "–"
FLAGS = {"not-reached": "not reached", "disagreement": "judges disagree", "doubtful": "doubtful anchor"}
"""What a reader should doubt: the search ended short of the target age, the independent judges read an age more than
10 years off, or the judge of the loop is unsure of the anchor's."""


@dataclass(frozen=True)
class Picture:
    """A picture on the page, embedded where it is first shown."""

    id: str
    uri: str
    reason: str = ""
    """Why there is none to show."""
    again: bool = False
    """Whether it is on the page already."""


@dataclass(frozen=True)
class Output:
    """A finished output and where its pictures lie."""

    job: Job
    number: int
    """Of the job, from 0."""
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
    """What it is sorted by, where not by its text; empty ones come last."""
    best: bool = False
    bad: bool = False
    link: str = ""


@dataclass(frozen=True)
class Column:
    title: str
    unit: str = ""
    numeric: bool = False
    first: str = "ascending"
    """How the first click sorts."""


@dataclass(frozen=True)
class Table:
    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    foot: list[list[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Facet:
    """What the faces can be filtered and sorted by."""

    title: str
    values: list[str]


@dataclass(frozen=True)
class Reference:
    """A source or an anchor beside the outputs made from it."""

    kind: str
    picture: Picture
    age: str
    independent: str
    """The independent judges' reading; empty where they were not asked."""
    jobs: list[str]
    """Whose it is; empty where it is everybody's."""


@dataclass(frozen=True)
class Face:
    job: str
    number: int
    """Of the job, from 0."""
    label: str
    """What sets the job apart from the others."""
    method: str
    output: int
    picture: Picture
    source: str
    anchor: str
    """Ids of the pictures."""
    readings: dict[str, str]
    """Age, its error, identity to source and to anchor, as shown."""
    sort_values: dict[str, str]
    """The same in full precision; empty where unknown."""
    independent: str
    """The age that the independent judges read, as shown; empty where they were not asked."""
    flags: list[str]
    """Which of FLAGS are up."""
    details: dict[str, str]
    facets: list[int]
    """For each facet, which of its values is this face's."""


@dataclass(frozen=True)
class Group:
    """The faces of one photo at one target age."""

    photo: str
    target_age: str
    references: list[Reference]
    faces: list[Face]


@dataclass(frozen=True)
class Block:
    """What it takes to run a job again."""

    name: str
    label: str
    status: str
    reason: str
    directory: str
    command: str
    config: str
    """As YAML."""


@dataclass(frozen=True)
class View:
    """All that the page says."""

    title: str
    note: str
    facts: dict[str, str]
    judges: dict[str, str]
    common: list[str]
    """The overrides that all jobs share."""
    tables: list[Table]
    facets: list[Facet]
    flags: dict[str, int]
    """How many faces of the page have each flag up, of those that any has."""
    groups: list[Group]
    n_faces: int
    n_left_out: int
    """Faces that are not on the page."""
    failures: Table
    skipped: Table
    jobs: list[Block]
    refresh: int = 0
    """Seconds after which the page loads itself again; 0 for one that is complete."""


def number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
