"""Tables of an evaluation for papers: Markdown, LaTeX with booktabs, CSV. One row per job, best values in bold."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from adfd.basics.files import atomic, one_line
from adfd.basics.files import cell as text_cell
from adfd.evaluation.bootstrap import Bootstrap
from adfd.evaluation.jobs import Estimate, Job, label
from adfd.evaluation.paired import differences
from adfd.evaluation.quantities import QUANTITIES, Quantity
from adfd.report.markdown import table as markdown_table

LATEX = str.maketrans(
    {
        **{char: f"\\{char}" for char in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)
MARKDOWN = str.maketrans({char: f"\\{char}" for char in r"\|*_`<>[]"})
ARROWS = {"lower": "↓", "higher": "↑", "": ""}
LATEX_ARROWS = {"lower": r" $\downarrow$", "higher": r" $\uparrow$", "": ""}


@dataclass(frozen=True)
class Column:
    """One quantity for every job, over all outputs or over those at one target age."""

    key: str
    """Name of the column in CSV."""
    quantity: Quantity
    title: str
    values: tuple[Estimate | None, ...]

    def text(self, row: int) -> str:
        """The mean as text; empty where there is none."""
        value = self.values[row]
        return "" if value is None else f"{value.mean:.{self.quantity.digits}f}"

    def interval(self, row: int) -> str:
        """The interval as text, `[low, high]`; empty where there is none."""
        value, digits = self.values[row], self.quantity.digits
        if value is None or math.isnan(value.low):
            return ""
        return f"[{value.low:.{digits}f}, {value.high:.{digits}f}]"

    def best(self) -> set[int]:
        """Rows with the best value as rounded; empty where fewer than two rows have a value."""
        shown = {row: float(self.text(row)) for row in range(len(self.values)) if self.text(row)}
        if not self.quantity.better or len(shown) < 2:
            return set()
        best = min(shown.values()) if self.quantity.better == "lower" else max(shown.values())
        return {row for row, value in shown.items() if value == best}


class Difference(Column):
    """Differences between every job and a reference job, with sign; bold where the interval excludes 0."""

    def text(self, row: int) -> str:
        value = self.values[row]
        return "" if value is None else f"{value.mean:+.{self.quantity.digits}f}"

    def interval(self, row: int) -> str:
        value, digits = self.values[row], self.quantity.digits
        if value is None or math.isnan(value.low):
            return ""
        return f"[{value.low:+.{digits}f}, {value.high:+.{digits}f}]"

    def best(self) -> set[int]:
        values = enumerate(self.values)
        return {row for row, value in values if value is not None and (value.low > 0 or value.high < 0)}


@dataclass(frozen=True)
class Table:
    """A table with one row per job; `notes` name the judges."""

    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    notes: tuple[str, ...]


def by_quantity(jobs: Sequence[Job], quantities: Sequence[str]) -> Table:
    """A table with one column per quantity, without quantities that no job has."""
    columns = [_column(name, jobs, None) for name in quantities]
    return _table(jobs, columns)


def by_target_age(jobs: Sequence[Job], quantities: Sequence[str]) -> Table:
    """A table with one column per quantity and target age."""
    columns = [_column(name, jobs, age) for name in quantities for age in target_ages(jobs)]
    return _table(jobs, columns)


def paired(jobs: Sequence[Job], other: Job, quantities: Sequence[str], bootstrap: Bootstrap) -> Table:
    """A table of differences between every other job and `other`, paired by photo."""
    rows = [job for job in jobs if job is not other]
    made = [differences(job, other, bootstrap) for job in rows]
    columns = []
    for name in quantities:
        plain = _column(name, jobs, None)
        values = tuple(estimates.get(name) for estimates in made)
        columns.append(Difference(plain.key, plain.quantity, plain.title, values))
    table = _table(jobs, columns)
    name = one_line(label(other, jobs))
    told = f"differences to {name} on the photos and ages of both, with intervals over photos; bold where 0 is outside"
    labels = tuple(text for text, job in zip(table.labels, jobs, strict=True) if job is not other)
    return Table(tuple(f"{text} minus {name}" for text in labels), table.columns, (told, *table.notes))


def target_ages(jobs: Sequence[Job]) -> list[float]:
    """All target ages of the jobs, ascending."""
    return sorted({age for job in jobs for age in job.by_age})


def _column(name: str, jobs: Sequence[Job], age: float | None) -> Column:
    quantity = QUANTITIES[name]
    title = quantity.title
    if name == "diversity" and (measures := {job.judges["diversity"].split(",")[0] for job in jobs}):
        title += f" ({' or '.join(sorted(measures))})"
    if age is not None:
        title += f" at {age:g}"
    title += f", {quantity.unit}" if quantity.unit else ""
    key = name if age is None else f"{name}_at_{age:g}"
    values = (job.estimates if age is None else job.by_age.get(age, {}) for job in jobs)
    return Column(key, quantity, title, tuple(estimates.get(name) for estimates in values))


def _table(jobs: Sequence[Job], columns: Sequence[Column]) -> Table:
    shown = tuple(column for column in columns if any(column.values))
    roles = dict.fromkeys(judge for column in shown for judge in column.quantity.judges)
    roles |= dict.fromkeys(role for job in jobs for role, name in job.judges.items() if name.startswith("missing"))
    labels, notes = (label(job, jobs) for job in jobs), (_note(role, jobs) for role in roles)
    return Table(tuple(map(one_line, labels)), shown, (*map(one_line, notes), *map(one_line, _short(jobs))))


def _short(jobs: Sequence[Job]) -> Iterator[str]:
    """A note for each job with outputs whose search did not reach the target age."""
    for job in jobs:
        if short := sum(row.get("reached") is False for row in job.rows):
            yield f"{label(job, jobs)}: {short} of {len(job.rows)} outputs ended short of the target age"


def _note(role: str, jobs: Sequence[Job]) -> str:
    """The footnote of a role: its judges, with the number of jobs that each measured where jobs differ."""
    counts = Counter(job.judges[role] for job in jobs if role in job.judges)
    if len(counts) == 1:
        return f"{role}: {next(iter(counts))}"
    alike = len({text.partition(", ")[0] for text in counts}) == 1
    texts = [f"{text} ({n} of {len(jobs)})" for text, n in counts.items()]
    return f"{role}: {'; '.join(texts)}" + ("" if alike else "; the rows are not judged alike")


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown: mean, and the interval in brackets."""
    heads = [f"{column.title} {ARROWS[column.quantity.better]}".strip().translate(MARKDOWN) for column in table.columns]
    lines = [["", *heads], ["---", *("---:" for _ in table.columns)]]
    for row, name in enumerate(table.labels):
        cells = [
            _cell(column, row, lambda text: f"**{text}**", lambda text: text.translate(MARKDOWN))
            for column in table.columns
        ]
        lines.append([name.translate(MARKDOWN), *cells])
    return "\n".join([markdown_table(lines), "", *(f"- {note.translate(MARKDOWN)}" for note in table.notes)]) + "\n"


def latex(table: Table) -> str:
    """The table as a LaTeX `tabular` with booktabs; the notes are LaTeX comments."""
    heads = [column.title.translate(LATEX) + LATEX_ARROWS[column.quantity.better] for column in table.columns]
    rows = []
    for row, name in enumerate(table.labels):
        cells = [
            _cell(column, row, lambda text: rf"\textbf{{{text}}}", lambda text: rf"{{\scriptsize {text}}}")
            for column in table.columns
        ]
        rows.append(" & ".join([name.translate(LATEX), *cells]) + r" \\")
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            *(f"% {note}" for note in table.notes),
            rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            r"\toprule",
            " & ".join(["", *heads]) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _cell(column: Column, row: int, bold: Callable[[str], str], small: Callable[[str], str]) -> str:
    text, interval = column.text(row), column.interval(row)
    text = bold(text) if row in column.best() else text or "--"
    return f"{text} {small(interval)}" if interval else text


def as_csv(table: Table, jobs: Sequence[Job]) -> str:
    """The table as CSV with unrounded numbers: for each column mean, standard deviation, interval, photos, outputs."""
    parts = ("mean", "sd", "low", "high", "n_photos", "n_outputs")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    heads = [f"{column.key}_{part}".removesuffix("_mean") for column in table.columns for part in parts]
    writer.writerow(["label", "directory", "overrides", "status", *heads])
    for row, (name, job) in enumerate(zip(table.labels, jobs, strict=True)):
        cells: list[float | str] = []
        for column in table.columns:
            values = [getattr(column.values[row], part, math.nan) for part in parts]
            cells += ["" if math.isnan(value) else value for value in values]
        told = (name, str(job.directory), " ".join(job.overrides), job.status)
        writer.writerow([*map(text_cell, told), *cells])
    return text.getvalue()


def write(table: Table, jobs: Sequence[Job], stem: Path) -> None:
    """Write a table as `.md`, `.tex` and `.csv`."""
    for suffix, text in {"md": markdown(table), "tex": latex(table), "csv": as_csv(table, jobs)}.items():
        with atomic(stem.with_suffix(f".{suffix}")) as stream:
            stream.write(text.encode())
