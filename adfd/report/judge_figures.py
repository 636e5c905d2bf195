"""Figures of the independent judges: pass curves and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from matplotlib import rc_context
from matplotlib.figure import Figure

from adfd.evaluation import calibration as calibrations
from adfd.evaluation import natural as naturals
from adfd.evaluation.jobs import Estimate
from adfd.report.figure_style import BLUE, COLOURS, GREEN, GREY, ORANGE, STYLE
from adfd.report.figures import MARKERS, shorten

GRID = STYLE | {"axes.grid": True}
SIZE = (6.3, 3.0)


def pass_curve(curves: Mapping[str, Mapping[float, Mapping[str, Estimate]]]) -> Figure | None:
    """Pass curves, one line per job: LPIPS with failures counted as 0, and the share that passes, over the threshold.

    None where no job has outputs with a measured diversity.
    """
    shown = {
        name: curve for name, curve in curves.items() if all("lpips_credited" in values for values in curve.values())
    }
    if not shown:
        return None
    with rc_context(GRID):
        figure = Figure(figsize=SIZE, layout="constrained")
        panels = dict(zip(("lpips_credited", "passes"), figure.subplots(1, 2), strict=True))
        for number, (name, curve) in enumerate(shown.items()):
            style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            for quantity, axes in panels.items():
                values = [curve[years][quantity] for years in curve]
                axes.plot(list(curve), [e.mean for e in values], markersize=3, linewidth=1.2, label=name, **style)
                low, high = ([getattr(e, end) for e in values] for end in ("low", "high"))
                axes.fill_between(list(curve), low, high, color=style["color"], alpha=0.1, linewidth=0)
        for axes, title in zip(panels.values(), ("LPIPS, failures worth 0 ↑", "share that passes ↑"), strict=True):
            axes.set_xlabel("years from the anchor's panel age, at most")
            axes.set_ylabel(title)
            axes.set_ylim(bottom=0)
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, [shorten(name, 40) for name in names], loc="outside lower center", ncols=2)
    return figure


def calibration() -> Figure:
    """The package's calibration on unedited faces: each judge's age against the loop's, and the panel's deviation."""
    known, faces = calibrations.shipped(), naturals.shipped()
    readings = {"faceres": (faces.faceres_age, BLUE), "faceapi": (faces.faceapi_age, ORANGE)}
    with rc_context(GRID):
        figure = Figure(figsize=SIZE, layout="constrained")
        left, right = figure.subplots(1, 2)
        for name, (reading, colour) in readings.items():
            curve = getattr(known, f"{name}_curve")
            left.plot(reading, faces.age, ".", markersize=2, alpha=0.3, color=colour)
            left.plot(curve[:, 0], curve[:, 1], color=colour, linewidth=1.8, label=name.replace("faceapi", "face-api"))
        left.set_xlabel("the judge's years")
        left.set_ylabel("dlib's years, mean over views")
        left.legend(loc="upper left")
        gap = known.panel(faces.faceres_age, faces.faceapi_age) - faces.age
        right.plot(faces.age, gap, ".", markersize=2, alpha=0.4, color=GREY)
        edges = (0, 10, 20, 30, 40, 50, 60, 81)
        brackets = {(low + high) / 2: gap[(faces.age >= low) & (faces.age < high)] for low, high in pairwise(edges)}
        told = {middle: inside for middle, inside in brackets.items() if len(inside) > 4}
        means, spreads = [g.mean() for g in told.values()], [g.std() for g in told.values()]
        right.errorbar(list(told), means, spreads, fmt="o", markersize=4, color=GREEN, label="mean, sd")
        right.axhline(0, color="black", linewidth=0.6)
        right.set_xlabel("dlib's years")
        right.set_ylabel("panel minus dlib, years")
        right.legend(loc="upper right")
    return figure
