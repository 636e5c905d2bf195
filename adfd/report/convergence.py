"""Convergence of a multirun of the analysis: its statistics against the number that was varied."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adfd.basics.files import Row, atomic
from adfd.report.channel_figures import rank_correlation
from adfd.report.figure_style import BLUE, GREEN, ORANGE, STYLE
from adfd.runs import console
from adfd.stylespace.statistics import Channels

SUMMARY = ("stability_age", "stability_id", "significant_age", "significant_id", "significant_slope")
"""Statistics read from each job's summary."""
AGREEMENT = {"agreement_age": "coef_age", "agreement_id": "coef_id", "agreement_slope": "slope_age"}
"""Rank correlations of a statistic between seeds."""


@dataclass(frozen=True)
class Point:
    """Jobs that differ only in their seed: the value of the varied number, and their statistics."""

    key: str
    """The varied number: analysis.n_samples, or another."""
    value: float
    others: str
    """The other overrides in which the sweep's jobs differ."""
    seeds: int
    statistics: dict[str, list[float]]
    """By name, one value per job; for agreements one value per pair of seeds."""


def compare(directory: Path, jobs: Sequence[Row]) -> list[Point]:
    """The finished jobs of a sweep, grouped by all settings but the seed and sorted by the varied number."""
    finished = [job for job in jobs if job["status"] == "finished"]
    groups: dict[tuple[str, float, str], list[Row]] = {}
    settings = [dict(override.lstrip("+").split("=", 1) for override in job["overrides"]) for job in finished]
    differing = {key for setting in settings for key in setting if len({other.get(key) for other in settings}) > 1}
    key = _varied(settings, differing - {"seed"})
    for job, setting in zip(finished, settings, strict=True):
        others = [f"{name}={setting.get(name)}" for name in sorted(differing - {"seed", key})]
        value = float(setting[key]) if key in setting else float(job["n_samples"])
        groups.setdefault((" ".join(others), value, key), []).append(job)
    return [_point(directory, *place, group) for place, group in sorted(groups.items())]


def _varied(settings: Sequence[dict[str, str]], differing: set[str]) -> str:
    """The numeric setting with the most values; n_samples where none was varied."""
    values = {key: {setting.get(key, "") for setting in settings} for key in sorted(differing)}
    numbers = {key: found for key, found in values.items() if all(map(_is_number, found))}
    return max(numbers, key=lambda key: len(numbers[key]), default="analysis.n_samples")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _point(directory: Path, others: str, value: float, key: str, group: Sequence[Row]) -> Point:
    statistics = {name: [float(job[name]) for job in group if job.get(name) is not None] for name in SUMMARY}
    channels = [Channels.load(directory / job["job"] / "channels.npz", job["generator"]) for job in group]
    for name, statistic in AGREEMENT.items():
        known = [values for found in channels if (values := getattr(found, statistic)) is not None]
        statistics[name] = [rank_correlation(a, b) for a, b in combinations(known, 2)]
    return Point(key, value, others, len(group), {name: found for name, found in statistics.items() if found})


def rows(points: Sequence[Point]) -> list[Row]:
    """One row per point: mean, minimum and maximum of each statistic."""
    names = [name for name in (*SUMMARY, *AGREEMENT) if any(name in point.statistics for point in points)]
    made = []
    for point in points:
        row: Row = {point.key: point.value, "jobs": point.others, "seeds": point.seeds}
        for name in names:
            found = point.statistics.get(name)
            row |= {
                name: sum(found) / len(found) if found else None,
                f"{name}_min": min(found) if found else None,
                f"{name}_max": max(found) if found else None,
            }
        made.append(row)
    return made


def write_csv(path: Path, points: Sequence[Point]) -> None:
    text, made = io.StringIO(newline=""), rows(points)
    table = csv.DictWriter(text, list(made[0]))
    table.writeheader()
    table.writerows(made)
    with atomic(path) as stream:
        stream.write(text.getvalue().encode())


def show(points: Sequence[Point]) -> None:
    """Print the means, with the spread between seeds where there are several."""
    made = rows(points)
    names = [name for name in made[0] if f"{name}_min" in made[0]]
    columns = [points[0].key, *(["jobs"] if any(point.others for point in points) else []), "seeds", *names]
    lines = [[_spread(row, name) if name in names else _short(row[name]) for name in columns] for row in made]
    titles = [column.rpartition(".")[2].replace("_", " ") for column in columns]
    console.show("convergence: mean (least..largest between seeds)", titles, lines)


def _spread(row: Row, name: str) -> str:
    mean, least, most = row[name], row[f"{name}_min"], row[f"{name}_max"]
    if mean is None:
        return "-"
    form = ".0f" if name.startswith("significant") else ".2f"
    return f"{mean:{form}}" + (f" ({least:{form}}..{most:{form}})" if least < most else "")


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def draw(points: Sequence[Point]) -> Figure:
    """Rank stability, agreement between seeds, and significant channels, against the varied number.

    One row of panels for each combination of the other overrides.
    """
    groups = list(dict.fromkeys(point.others for point in points))
    with rc_context(STYLE):
        figure = Figure(figsize=(9.4, 3.4 * len(groups)), layout="constrained")
        grid = figure.subplots(len(groups), 2, squeeze=False)
        for (left, right), others in zip(grid, groups, strict=True):
            group = [point for point in points if point.others == others]
            _line(left, group, "stability_age", "coef_age, split halves", BLUE, "o-")
            _line(left, group, "stability_id", "coef_id, split halves", ORANGE, "s-")
            _line(left, group, "agreement_age", "coef_age, between seeds", BLUE, "o--")
            _line(left, group, "agreement_id", "coef_id, between seeds", ORANGE, "s--")
            _line(left, group, "agreement_slope", "effect on age, between seeds", GREEN, "^--")
            left.set_ylim(top=1)
            left.set_ylabel("rank correlation")
            _line(right, group, "significant_age", "age", BLUE, "o-")
            _line(right, group, "significant_id", "identity", ORANGE, "s-")
            _line(right, group, "significant_slope", "effect on age", GREEN, "^-")
            right.set_ylim(bottom=0)
            right.set_ylabel("channels above noise")
            for axes in (left, right):
                _finish(axes, group)
            left.set_title(others, fontsize=9, loc="left")
    return figure


def _line(axes: Axes, points: Sequence[Point], name: str, label: str, colour: str, style: str) -> None:
    """A line through the means, with bars from minimum to maximum."""
    known = [(point.value, point.statistics[name]) for point in points if name in point.statistics]
    if not known:
        return
    x = [value for value, _ in known]
    means = [sum(found) / len(found) for _, found in known]
    bars = [[m - min(f) for m, (_, f) in zip(means, known, strict=True)],
            [max(f) - m for m, (_, f) in zip(means, known, strict=True)]]  # fmt: skip
    axes.errorbar(x, means, yerr=bars, fmt=style, color=colour, label=label, markersize=4, linewidth=1.3, capsize=2)


def _finish(axes: Axes, points: Sequence[Point]) -> None:
    values = [point.value for point in points]
    if min(values) > 0 and max(values) >= 5 * min(values):
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_xlabel(points[0].key)
    axes.grid()
    axes.legend()
