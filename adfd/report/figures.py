"""Figures of an evaluation: trade-offs between two quantities, and estimated against requested ages.

The same jobs give the same bytes of SVG. Colours are Okabe and Ito's colour-blind-safe palette; markers and labels
repeat the information.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import cycle
from textwrap import wrap

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adfd.evaluation.jobs import Estimate, Job, differing_keys, is_ours, job_settings, label
from adfd.evaluation.quantities import QUANTITIES
from adfd.report.figure_style import COLOURS, GREY, STYLE
from adfd.runs.sheets import Tile, independent, mark, render_sheet, stack_sheets

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
GRID = STYLE | {"axes.grid": True}
SIZE = (6.3, 3.2)
"""Inches; the text width of a paper."""


def trade_off(jobs: Sequence[Job], x: str, y: str, natural: Sequence[Job] = ()) -> Figure | None:
    """One quantity against another: one point per job with intervals, joined by lines along a numeric override.

    Where jobs differ in several numbers, lines follow the one with the most values, one line for each combination of
    the others; dashed lines mark the quantities of `natural`, jobs of unedited faces. None where fewer than two jobs
    have both quantities.
    """
    shown = [job for job in jobs if {x, y} <= set(job.estimates)]
    if len(shown) < 2:
        return None
    along = numeric_key(jobs)
    with rc_context(GRID):
        figure, axes = _axes()
        for name, group, style in _styled(_lines(jobs, along)):
            if not (group := [job for job in group if job in shown]):
                continue
            xs, ys = ([job.estimates[quantity] for job in group] for quantity in (x, y))
            axes.plot([e.mean for e in xs], [e.mean for e in ys], linewidth=1.2, label=name, **style)
            axes.errorbar(
                [e.mean for e in xs],
                [e.mean for e in ys],
                xerr=_bars(xs),
                yerr=_bars(ys),
                fmt="none",
                ecolor=style["color"],
                elinewidth=0.7,
                alpha=0.5,
            )
            for job, at_x, at_y in zip(group, xs, ys, strict=True):
                if along and (value := job_settings(job).get(along)):
                    at = at_x.mean, at_y.mean
                    axes.annotate(value, at, (4, 4), textcoords="offset points", fontsize=7, color=style["color"])
        for job in natural:
            for quantity, line in ((x, axes.axvline), (y, axes.axhline)):
                if (estimate := job.estimates.get(quantity)) is not None and math.isfinite(estimate.mean):
                    line(estimate.mean, linestyle="--", color=GREY, linewidth=1, label=job.name)
        axes.set_xlabel(_axis_title(shown, x))
        axes.set_ylabel(_axis_title(shown, y))
        _legend(axes, f"points: {along}" if along else None)
    return figure


def age_accuracy(jobs: Sequence[Job]) -> Figure | None:
    """Estimated age against target age: one line per job with its interval as a band, and the ideal diagonal.

    Jobs that differ only in the target age form one line. None for fewer than two target ages.
    """
    curves: dict[str, dict[float, Estimate]] = {}
    for name, group in _lines(jobs, "target_age" if "target_age" in differing_keys(jobs) else None):
        points = {age: values["age"] for job in group for age, values in job.by_age.items() if "age" in values}
        curves.setdefault(name, {}).update(points)
    ages = sorted({age for points in curves.values() for age in points})
    if len(ages) < 2:
        return None
    with rc_context(GRID):
        figure, axes = _axes()
        ends = ages[0], ages[-1]
        axes.plot(ends, ends, "--", color=GREY, linewidth=1, zorder=3, label="as requested")
        for name, points, style in _styled(list(curves.items())):
            at = sorted(points)
            axes.plot(at, [points[age].mean for age in at], linewidth=1.2, label=name, **style)
            low, high = ([getattr(points[age], end) for age in at] for end in ("low", "high"))
            axes.fill_between(at, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axes.set_xlabel("target age, years")
        axes.set_ylabel(_axis_title(jobs, "age"))
        _legend(axes, None)
    return figure


def svg(figure: Figure) -> str:
    """A figure as SVG text, identical for identical figures."""
    with rc_context(GRID):
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
        return stream.getvalue()


def png(figure: Figure) -> bytes:
    """A figure as PNG at 200 dpi."""
    with rc_context(GRID):
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=200)
        return stream.getvalue()


def numeric_key(jobs: Sequence[Job]) -> str | None:
    """The override along which lines are drawn: among those that are numbers in all jobs, the one with the most values.

    None where no two jobs differ only in a number.
    """
    candidates = {}
    for key in differing_keys(jobs):
        values = [job_settings(job).get(key) for job in jobs if is_ours(job)]
        numbers = all(_number(value) is not None for value in values)
        if numbers and any(len(line) > 1 for _, line in _lines(jobs, key)):
            candidates[key] = len(set(values))
    return max(candidates, key=candidates.__getitem__) if candidates else None


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _lines(jobs: Sequence[Job], along: str | None) -> list[tuple[str, list[Job]]]:
    """Groups of jobs that differ only in `along`, sorted by its values, each with a label of the other settings."""
    if along is None:
        return [(label(job, jobs), [job]) for job in jobs]
    keys = [key for key in differing_keys(jobs) if key != along]
    lines: dict[str, list[Job]] = {}
    places = [_number(job_settings(job).get(along)) for job in jobs]
    order = sorted(range(len(jobs)), key=lambda i: -math.inf if (place := places[i]) is None else place)
    for job in (jobs[i] for i in order):
        settings = job_settings(job)
        common = " ".join([job.method, *(f"{key}={settings[key]}" for key in keys if key in settings)])
        lines.setdefault(common, []).append(job)
    return list(lines.items())


def _styled(lines: Sequence[tuple[str, object]]) -> list[tuple]:
    styles = zip(cycle(COLOURS), cycle(MARKERS), strict=False)
    return [
        (name, points, {"color": colour, "marker": marker, "markersize": 5})
        for (name, points), (colour, marker) in zip(lines, styles, strict=False)
    ]


def _bars(values: Sequence[Estimate]) -> list[list[float]]:
    """Lengths of error bars, downwards and upwards; 0 without an interval."""
    down = [max(0.0, e.mean - e.low) if math.isfinite(e.low) else 0.0 for e in values]
    up = [max(0.0, e.high - e.mean) if math.isfinite(e.high) else 0.0 for e in values]
    return [down, up]


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    return figure, figure.add_subplot()


def _axis_title(jobs: Sequence[Job], name: str) -> str:
    """Title, unit, judges and direction of improvement of a quantity."""
    quantity = QUANTITIES[name]
    title = f"{quantity.title}, {quantity.unit}" if quantity.unit else quantity.title
    judges = dict.fromkeys(job.judges[judge].split(",")[0] for job in jobs for judge in quantity.judges)
    title += {"lower": " ↓", "higher": " ↑", "": ""}[quantity.better]
    return title + (f"\n({', '.join(judges)})" if judges else "")


def _legend(axes: Axes, title: str | None) -> None:
    """Draw a legend to the right of the axes, with shortened labels."""
    handles, names = axes.get_legend_handles_labels()
    names = ["\n".join(shorten(line, 32) for line in wrap(name, 32, break_long_words=False)) for name in names]
    axes.legend(handles, names, loc="center left", bbox_to_anchor=(1.0, 0.5), title=title, title_fontsize=8)


def contact_sheet(jobs: Sequence[Job], n_groups: int, n_jobs: int) -> bytes | None:
    """The first output of every job, side by side, as JPEG: one row per photo and age, which starts with the source.

    At most `n_groups` rows, for photos and ages of the first job with outputs, and `n_jobs` jobs; the title states how
    many were left out. None for fewer than two jobs with outputs.
    """
    made = [job for job in jobs if any(row["status"] == "ok" for row in job.rows)]
    if len(made) < 2:
        return None
    shown = made[:n_jobs]
    of_all = f", {len(shown)} of {len(made)} jobs" if len(shown) < len(made) else ""
    ok = [row for row in made[0].rows if row["status"] == "ok"]
    photos = dict.fromkeys(row["photo"] for row in ok)
    places = [(photo, age) for photo in photos for age in sorted({r["target_age"] for r in ok if r["photo"] == photo})]
    only = f"{shown[0].method} " if len({job.method for job in shown}) == 1 else ""
    names = [label(job, shown).removeprefix(only) for job in shown]
    sheets = []
    for photo, target_age in places[:n_groups]:
        source = made[0].directory / f"images/{photo}_source.png"
        tiles = [Tile(source, "source", photo)] if source.exists() else []
        for job, name in zip(shown, names, strict=True):
            tiles += _first_output(job, name, photo, target_age)
        sheets.append(render_sheet(f"{photo} at {target_age:g}{of_all}", tiles))
    stream = io.BytesIO()
    stack_sheets(sheets).save(stream, "JPEG", quality=88)
    return stream.getvalue()


def _first_output(job: Job, name: str, photo: str, target_age: float) -> list[Tile]:
    """The tile of a job's first output for this photo and age; an empty list where there is none."""
    rows = [row for row in job.rows if (row["photo"], row["target_age"]) == (photo, target_age) and row["image"]]
    rows = [row for row in rows if row["status"] == "ok" and (job.directory / row["image"]).exists()]
    if not rows:
        return []
    row = min(rows, key=lambda row: row["output"])
    readings = {"reads": (row["age"], ".1f"), "identity": (row["id_similarity_source"], ".2f")}
    detail = ", ".join(f"{name} {value:{form}}" for name, (value, form) in readings.items() if value is not None)
    return [Tile(job.directory / row["image"], shorten(name), detail, mark(row), independent(row))]


def shorten(text: str, most: int = 30) -> str:
    """The text, shortened to at most `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
