"""The processes that share one run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass


@dataclass(frozen=True)
class Ranks:
    """This process among those that share a run, as Lightning's Fabric sees it."""

    first: bool
    """Whether this is the rank that writes the summary."""
    wait: Callable[[], object]
    """Returns when every rank has come here."""
    precision: Callable[[], AbstractContextManager]
    """The numbers' precision, as a context to compute in."""
