"""Tables of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

DIGITS = 3


def table(lines: Iterable[Sequence[str]]) -> str:
    """Lines of cells as a table: heads, what parts them from the rest (`---`), rows."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def records(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of numbers and words under their names, numbers with three digits; the first row has all names."""
    columns = list(rows[0])
    return table([columns, ["---"] * len(columns), *([_cell(row.get(column)) for column in columns] for row in rows)])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
