"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

DIGITS = 3


def table(lines: Iterable[Sequence[str]]) -> str:
    """A table from lines of cells: headings, separators (`---`), rows."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def records(rows: Sequence[dict[str, Any]]) -> str:
    """A table of dictionaries with the keys of the first one as headings; numbers have three digits."""
    columns = list(rows[0])
    return table([columns, ["---"] * len(columns), *([_cell(row.get(column)) for column in columns] for row in rows)])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
