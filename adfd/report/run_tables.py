"""The tables of a run's page: quantities by target age or by job, failures, photos left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from adfd.evaluation.jobs import Estimate, Job
from adfd.evaluation.quantities import QUANTITIES, Quantity
from adfd.report.run_view import UNKNOWN, Cell, Column, Table, number


def run_table(job: Job) -> Table:
    """A run's quantities: one row per target age, and the whole run at the bottom."""
    whole = ([Cell("all")], job.estimates)
    lines = [([Cell(f"{age:g}")], estimates) for age, estimates in sorted(job.by_age.items())]
    return estimates_table("", [Column("target age", "years", numeric=True)], lines, [whole])


def sweep_tables(jobs: Sequence[Job], names: Sequence[str], different: Mapping[str, list[str]]) -> list[Table]:
    """A sweep's quantities, one row per job: over all target ages, and, if there are several, at each of them."""
    heads = [Column("job"), *map(Column, different)]
    cells = [
        [Cell(name, link=f"#job-{i}"), *(Cell(values[i]) for values in different.values())]
        for i, name in enumerate(names)
    ]
    ages = sorted({age for job in jobs for age in job.by_age})
    lines = [([*cells[i], Cell(job.status, bad=job.status != "finished")], job.estimates) for i, job in enumerate(jobs)]
    title = "over all target ages" if len(ages) > 1 else ""
    tables = [estimates_table(title, [*heads, Column("status")], lines, compared=jobs)]
    for age in ages if len(ages) > 1 else ():
        there = [i for i, job in enumerate(jobs) if age in job.by_age]
        lines = [(cells[i], jobs[i].by_age[age]) for i in there]
        tables.append(estimates_table(f"at {age:g} years", heads, lines, compared=[jobs[i] for i in there], age=age))
    return tables


Line = tuple[list[Cell], dict[str, Estimate]]


def estimates_table(
    title: str,
    heads: list[Column],
    lines: Sequence[Line],
    foot: Sequence[Line] = (),
    compared: Sequence[Job] = (),
    age: float | None = None,
) -> Table:
    """A table with one column for every quantity that any line has.

    `compared` are the jobs of the lines: where the finished ones have the same photos (at `age`, or at the same target
    ages), the best value is marked.
    """
    shown = {key: quantity for key, quantity in QUANTITIES.items() if any(key in line[1] for line in [*lines, *foot])}
    complete = [job.status == "finished" for job in compared] or [False] * len(lines)
    alike = len({covered(job, age) for job, there in zip(compared, complete, strict=False) if there}) == 1

    def cells(line: Line, candidate: bool) -> list[Cell]:
        return [*line[0], *(estimate_cell(line[1].get(key), shown[key], best[key], candidate) for key in shown)]

    candidates = [estimates for (_, estimates), there in zip(lines, complete, strict=True) if there and alike]
    best = {key: leader([each[key].mean for each in candidates if key in each], shown[key]) for key in shown}
    note = ""
    if sum(complete) > 1:
        unlike = "No best is marked: the jobs differ in their photos or target ages."
        note = "Bold: the best of the finished jobs." if alike else unlike
    return Table(
        title=title,
        columns=[*heads, *map(quantity_column, shown.values())],
        rows=[cells(line, there) for line, there in zip(lines, complete, strict=True)],
        foot=[cells(line, False) for line in foot],
        note=note,
    )


def covered(job: Job, age: float | None) -> frozenset[tuple[str, float]]:
    """The (photo, target age) pairs of a job's outputs; with `age` only those at that age."""
    return frozenset((row["photo"], row["target_age"]) for row in job.rows if age in (None, row["target_age"]))


def leader(means: list[float], quantity: Quantity) -> float | None:
    """The best of the means, rounded as shown; None for fewer than two different ones, or where none is better."""
    known = {round(mean, quantity.digits) for mean in means if math.isfinite(mean)}
    if not quantity.better or len(known) < 2:
        return None
    return min(known) if quantity.better == "lower" else max(known)


def quantity_column(quantity: Quantity) -> Column:
    first = "descending" if quantity.better == "higher" else "ascending"
    better = f"{quantity.better} is better" if quantity.better else ""
    return Column(quantity.title, ", ".join(filter(None, (quantity.unit, better))), numeric=True, first=first)


def estimate_cell(estimate: Estimate | None, quantity: Quantity, best: float | None, candidate: bool) -> Cell:
    """A cell with the mean, rounded to the quantity's digits, and the interval, if there is one."""
    if estimate is None or not math.isfinite(estimate.mean):
        return Cell(UNKNOWN, value="")
    low, high = (number(bound, quantity.digits) for bound in (estimate.low, estimate.high))
    return Cell(
        text=f"{estimate.mean:.{quantity.digits}f}",
        detail=f"{low} to {high}" if estimate.low < estimate.high else "",
        value=repr(float(estimate.mean)),
        best=candidate and best is not None and round(estimate.mean, quantity.digits) == best,
    )


def failures(jobs: Sequence[Job], names: Sequence[str]) -> Table:
    """The outputs that failed, with the reasons."""
    titles = ("job", "photo", "target age", "output", "reason")
    rows = [
        [
            Cell(names[i], link=f"#job-{i}"),
            *map(Cell, (row["photo"], f"{row['target_age']:g}", str(row["output"]), row["reason"])),
        ]
        for i, job in enumerate(jobs)
        for row in job.rows
        if row["status"] != "ok"
    ]
    return Table("", [Column(title, numeric=title in ("target age", "output")) for title in titles], rows, [])


def left_out(skipped: Sequence[dict[str, str]], names: Sequence[str]) -> Table:
    """The photos that were left out, with the reasons and the jobs."""
    whose: dict[tuple[str, str], list[str]] = {}
    for photos, name in zip(skipped, names, strict=True):
        for photo_and_reason in photos.items():
            whose.setdefault(photo_and_reason, []).append(name)
    rows = [[Cell(photo), Cell(reason), Cell(", ".join(jobs))] for (photo, reason), jobs in whose.items()]
    return Table("", [Column("photo"), Column("reason"), Column("jobs")], rows, [])
