"""The processes that share one run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass


@dataclass(frozen=True)
class Ranks:
    """This process among the ranks that share a run; taken from Lightning's Fabric."""

    first: bool
    """True on the rank that writes the summary."""
    wait: Callable[[], object]
    """Barrier: returns when all ranks have called it."""
    precision: Callable[[], AbstractContextManager]
    """Context manager that sets the precision of computations."""
