"""Heat maps of a sweep: mean scores of outputs for each target age and each value of a loss weight (lambda)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from adfd.basics.files import Row
from adfd.basics.harmonic import harmonic_score
from adfd.report.figure_style import STYLE
from adfd.report.markdown import table

SCORES = {
    "age_error": "age error, years (less is better)",
    "id_similarity_source": "identity to source",
    "harmonic": "harmonic, 0 to 100",
}
CELL = (0.75, 0.42)
"""Size in inches."""


@dataclass(frozen=True)
class HeatMap:
    """Mean scores `[A, V]` over all outputs, for A target ages and V values of a lambda; NaN without outputs."""

    lambda_name: str
    ages: tuple[float, ...]
    values: tuple[float, ...]
    scores: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        assert all(cells.shape == (len(self.ages), len(self.values)) for cells in self.scores.values())


def heat_maps(jobs: Sequence[tuple[Mapping[str, float], Sequence[Row]]]) -> list[HeatMap]:
    """One heat map for each lambda in which the jobs, (lambdas, rows), differ; averaged over the other lambdas."""
    finished = [(lambdas, [row for row in rows if row["status"] == "ok"]) for lambdas, rows in jobs]
    ages = tuple(sorted({row["target_age"] for _, rows in finished for row in rows}))
    made = []
    for name in dict.fromkeys(name for lambdas, _ in finished for name in lambdas):
        values = tuple(sorted({lambdas[name] for lambdas, rows in finished if name in lambdas and rows}))
        if len(values) < 2:
            continue
        scores = {score: np.full((len(ages), len(values)), math.nan) for score in SCORES}
        for place in np.ndindex(len(ages), len(values)):
            age, value = ages[place[0]], values[place[1]]
            told = [rows for lambdas, rows in finished if lambdas.get(name) == value]
            for score, mean in means([row for rows in told for row in rows if row["target_age"] == age]).items():
                scores[score][place] = mean
        made.append(HeatMap(name, ages, values, scores))
    return made


def means(rows: Sequence[Row]) -> dict[str, float]:
    """Mean scores of the outputs by name; empty for no outputs."""
    if not rows:
        return {}
    age_error = float(np.mean([abs(row["age"] - row["target_age"]) for row in rows]))
    identity = float(np.mean([row["id_similarity_source"] for row in rows]))
    harmonic = harmonic_score(torch.tensor(age_error), torch.tensor(identity)).item()
    return {"age_error": age_error, "id_similarity_source": identity, "harmonic": harmonic}


def draw(shown: HeatMap) -> Figure:
    """One panel per score, below one another; a darker cell is better, and shows its number."""
    size = CELL[0] * len(shown.values) + 2, len(SCORES) * (CELL[1] * len(shown.ages) + 0.8)
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        for axes, (score, title) in zip(figure.subplots(len(SCORES)), SCORES.items(), strict=True):
            cells = shown.scores[score]
            image = axes.imshow(cells, cmap="cividis" if score == "age_error" else "cividis_r", aspect="auto")
            for (y, x), value in np.ndenumerate(cells):
                if math.isfinite(value):
                    dark = float(np.dot(to_rgb(image.to_rgba(value)), (0.3, 0.6, 0.1))) < 0.5
                    text = {"ha": "center", "va": "center", "color": "white" if dark else "black", "fontsize": 8}
                    axes.text(x, y, number(value), **text)
            axes.set_xticks(range(len(shown.values)), [f"{value:g}" for value in shown.values])
            axes.set_yticks(range(len(shown.ages)), [f"{age:g}" for age in shown.ages])
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)
            axes.set(title=title, xlabel=f"loss.{shown.lambda_name}", ylabel="target age")
    return figure


def markdown(shown: HeatMap, score: str) -> str:
    """One score as a Markdown table."""
    head = [f"age \\ loss.{shown.lambda_name}", *(f"{value:g}" for value in shown.values)]
    lines = [head, ["---"] * len(head)]
    for age, cells in zip(shown.ages, shown.scores[score], strict=True):
        lines.append([f"{age:g}", *(number(cell) if math.isfinite(cell) else "" for cell in cells)])
    return table(lines)


def number(value: float) -> str:
    """A number as text with three significant digits."""
    return f"{value:#.3g}".rstrip(".")
