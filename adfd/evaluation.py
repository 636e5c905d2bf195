"""What was run and what it came to: run directories in, one `Job` each with its rows and estimates out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adfd.runs import Row


@dataclass(frozen=True)
class Estimate:
    """Mean over photos, standard deviation over outputs, and a bootstrap confidence interval over photos."""

    mean: float
    sd: float
    low: float
    high: float
    n_photos: int
    n_outputs: int


@dataclass(frozen=True)
class Job:
    """One run directory, evaluated."""

    directory: Path
    name: str
    """The directory's name: a job's number in a sweep."""
    method: str
    overrides: tuple[str, ...]
    """As given on the command line, `key=value`."""
    command: str
    """What reproduces the run."""
    config: dict[str, Any]
    status: str
    """finished | interrupted | failed | lost | running"""
    reason: str
    rows: list[Row]
    """One per output, from `results.jsonl`, with what the evaluation measured added."""
    estimates: dict[str, Estimate]
    """By name of the quantity; what does not apply is absent."""
    by_age: dict[float, dict[str, Estimate]]
    """The same by target age, in years."""
    judges: dict[str, str]
    """Who measured: "age", "identity", "gender", "diversity" -> name, and whether it was in the loss."""
