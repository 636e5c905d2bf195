"""Figures of a channel analysis: dependence of channels and layers on age and identity, significance, effects of moves.

The same statistics give the same bytes of SVG. Colour maps are readable with colour blindness, and markers and labels
repeat the information.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from torch import Tensor

from adfd.basics.files import atomic
from adfd.report.figure_style import BLUE, ORANGE, STYLE
from adfd.stylespace.layout import StyleSpace
from adfd.stylespace.regions import REGIONS
from adfd.stylespace.statistics import Channels

WIDE, LAYER = 9.4, 0.19
"""Inches: width of a figure; height per layer."""
BINS = 90
TITLES = {
    "coef_age": "coef_age: |correlation| with the estimated age",
    "coef_id": "coef_id: |correlation| with the identity distance",
    "slope_age": "effect on the estimated age, years per sd",
    "id_change": "change of identity (1 - similarity)",
}


def draw(channels: Channels, space: StyleSpace, fdr: float, other: Channels | None = None) -> dict[str, Figure]:
    """The figures, by name, for which the statistics exist; `other`, of the same generator, is compared with them."""
    figures = {}
    with rc_context(STYLE):
        for name, p in (("coef_age", "age"), ("coef_id", "id"), ("slope_age", "slope")):
            if getattr(channels, name) is not None:
                above = channels.significant(p, fdr) if getattr(channels, f"p_{p}") is not None else None
                figures[f"{name}_map"] = heat_map(name, getattr(channels, name), above, space, fdr)
        for name in ("age", "id"):
            if getattr(channels, f"null_{name}") is not None:
                figures[f"coef_{name}_histogram"] = histogram(channels, name, fdr)
        if channels.slope_age is not None:
            slope = channels.slope_age.abs()
            if channels.coef_age is not None:
                axes_title = (TITLES["coef_age"], "|effect on the estimated age|, years per sd")
                figures["slope_and_coef"] = scatter([(channels.coef_age, slope, *axes_title)])
            if channels.id_change is not None:
                axes_title = ("|effect on the estimated age|, years per sd", TITLES["id_change"])
                figures["slope_and_id"] = scatter([(slope, channels.id_change, *axes_title)])
            figures["effect_by_place"] = effect_by_place(slope, channels.main_regions(), space)
        if channels.layer_slope_age is not None and channels.layer_id_change is not None:
            figures["layer_effects"] = layer_effects(channels.layer_slope_age, channels.layer_id_change, space)
        for name in ("region_change", "region_sensitivity"):
            if (table := getattr(channels, name)) is not None:
                figures[f"{name}_map"] = region_map(table, space)
        if other is not None:
            figures["comparison"] = comparison(channels, other)
    return figures


def write(folder: Path, figures: dict[str, Figure]) -> dict[str, Path]:
    """Save the figures by their names; returns the SVG files."""
    folder.mkdir(parents=True, exist_ok=True)
    return {name: save(folder / name, figure) for name, figure in figures.items()}


def save(path: Path, figure: Figure) -> Path:
    """Write a figure to `path` with suffixes `.svg` and `.png`; returns the path of the SVG."""
    with rc_context(STYLE):
        for kind, metadata in {"svg": {"Date": None}, "png": {}}.items():
            with atomic(path.with_name(f"{path.name}.{kind}")) as stream:
                figure.savefig(stream, format=kind, dpi=150, metadata=metadata)
            figure.set_layout_engine("none")  # the second file reuses the layout, which is slower than drawing
    return path.with_name(f"{path.name}.svg")


def heat_map(name: str, values: Tensor, above: Tensor | None, space: StyleSpace, fdr: float) -> Figure:
    """A statistic `[C]` by layer (rows, in the order of synthesis) and channel; grey where it was not measured.

    With `above` `[C]`, bool, the significant channels, also bars of their share in each layer, in percent.
    """
    signed = bool((values < 0).any())
    figure = Figure(figsize=(WIDE, 0.9 + LAYER * len(space.layers)), layout="constrained")
    grid = figure.subplots(1, 2, sharey=True, width_ratios=(6, 1)) if above is not None else [figure.subplots()]
    axes: Axes = grid[0]
    rows = _rows(values, space)
    exists = np.where(np.arange(rows.shape[1]) < np.array(space.widths)[:, None], 1.0, np.nan)
    how: Any = {"aspect": "auto", "interpolation": "none"}
    axes.imshow(exists, cmap=ListedColormap(["#dddddd"]), **how)
    most = float(values.abs().nan_to_num().max()) or 1.0
    colours = colormaps["PuOr_r" if signed else "magma_r"]
    image = axes.imshow(rows, cmap=colours, vmin=-most if signed else 0, vmax=most, **how)
    axes.hlines(np.arange(1, len(rows)) - 0.5, -0.5, rows.shape[1] - 0.5, color="white", linewidth=0.8)
    _name_layers(axes, space)
    axes.set_xlabel("channel within the layer")
    figure.colorbar(image, ax=axes, location="top", aspect=60, shrink=0.6, label=TITLES[name])
    if above is not None:
        shares = [100 * float(part.float().mean()) for part in space.split(above)]
        grid[1].barh(range(len(shares)), shares, color=BLUE, height=0.7)
        grid[1].set_xlim(0, 100)
        grid[1].set_xlabel(f"% above noise\n(fdr {fdr:g})")
        grid[1].tick_params(left=False, labelleft=False)
        grid[1].grid(axis="x")
    return figure


def histogram(channels: Channels, name: str, fdr: float) -> Figure:
    """Histogram of a coefficient over channels, and the one expected under the null hypothesis of no dependence."""
    found = getattr(channels, f"coef_{name}")
    found = found[~found.isnan()].double().numpy()
    null = getattr(channels, f"null_{name}").double().numpy()
    edges = np.linspace(0, max(found.max(), null[-1]), BINS + 1)
    below = np.interp(edges, null, np.linspace(0, 1, len(null)), left=0, right=1)
    figure = Figure(figsize=(WIDE / 2, 3.1), layout="constrained")
    axes = figure.subplots()
    counts = np.histogram(found, edges)[0]
    axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.75, label=f"{len(found)} channels")
    axes.stairs(np.diff(below) * len(found), edges, color=ORANGE, linewidth=1.6, label="expected of noise alone")
    if (above := channels.significant(name, fdr)).any():
        least = float(getattr(channels, f"coef_{name}")[above].min())
        label = f"{int(above.sum())} channels from {least:.3f} up\nat a false discovery rate of {fdr:g}"
        axes.axvline(least, color="black", linewidth=1, linestyle="--", label=label)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)
    axes.set_xlabel(TITLES[f"coef_{name}"])
    axes.set_ylabel("channels")
    axes.grid(axis="y")
    axes.legend()
    return figure


def scatter(panels: Sequence[tuple[Tensor, Tensor, str, str]]) -> Figure:
    """Scatter plots of channel statistics with rank correlations; a panel is (x `[C]`, y `[C]`, x label, y label)."""
    figure = Figure(figsize=(WIDE / 2 * len(panels), 3.6), layout="constrained")
    for axes, (x, y, x_title, y_title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        known = ~(x.isnan() | y.isnan())
        # rasterised, since thousands of circles make an SVG slow
        axes.scatter(x[known], y[known], s=12, color=BLUE, alpha=0.45, linewidths=0, rasterized=True)
        axes.set_xlabel(x_title)
        axes.set_ylabel(y_title)
        axes.set_title(f"rank correlation {rank_correlation(x, y):.2f} over {int(known.sum())} channels", fontsize=9)
        axes.grid()
    return figure


def comparison(ours: Channels, other: Channels) -> Figure:
    """Scatter plots of our coefficients against those of another analysis of the same generator."""
    pairs = [(name, compared(ours, other, name)) for name in ("coef_age", "coef_id")]
    return scatter([(*pair, f"{name}, theirs", f"{name}, ours") for name, pair in pairs if pair is not None])


def compared(ours: Channels, other: Channels, name: str) -> tuple[Tensor, Tensor] | None:
    """(theirs, ours) of a coefficient, `[n]` each, over the channels that both measured; None where one has none.

    A coefficient of exactly 0 counts as not measured: the published ones are 0 on the toRGB channels.
    """
    a, b = getattr(other, name), getattr(ours, name)
    if a is None or b is None:
        return None
    known = (a > 0) & (b > 0)
    return a[known], b[known]


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Spearman's rank correlation over the channels where both are measured; NaN for fewer than three."""
    known = ~(x.isnan() | y.isnan())
    if known.sum() < 3:
        return float("nan")
    return float(spearmanr(x[known].double().numpy(), y[known].double().numpy()).statistic)


def effect_by_place(slope: Tensor, regions: list[str] | None, space: StyleSpace) -> Figure:
    """Mean |effect on age| of the moved channels by layer, and by the region that they change most."""
    figure = Figure(figsize=(WIDE, 0.7 + LAYER * len(space.layers)), layout="constrained")
    grid = figure.subplots(1, 2 if regions else 1, squeeze=False)[0]
    _bars(grid[0], [part[~part.isnan()] for part in space.split(slope)])
    _name_layers(grid[0], space)
    if regions:
        of = np.array(regions)
        _bars(grid[1], [slope[torch.from_numpy(of == name) & ~slope.isnan()] for name in REGIONS])
        grid[1].set_yticks(range(len(REGIONS)), REGIONS)
        grid[1].set_title("by the region that a channel changes most", fontsize=9)
    grid[0].set_title("by layer", fontsize=9)
    return figure


def layer_effects(slope: Tensor, id_change: Tensor, space: StyleSpace) -> Figure:
    """Effects on age and identity, `[layers]` each, of moving a layer along its correlations with age."""
    figure = Figure(figsize=(WIDE, 0.7 + LAYER * len(space.layers)), layout="constrained")
    left, right = figure.subplots(1, 2)
    titles = TITLES["slope_age"], TITLES["id_change"]
    for axes, values, title, colour in zip((left, right), (slope, id_change), titles, (BLUE, ORANGE), strict=True):
        axes.barh(range(len(values)), values.nan_to_num(), color=colour, height=0.7)
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.set_xlabel(title)
        axes.grid(axis="x")
        _name_layers(axes, space)
    return figure


def region_map(table: Tensor, space: StyleSpace) -> Figure:
    """Mean change of each region over the measured channels of each layer, from `table` `[C, R]`."""
    means = [part[~part.isnan().any(dim=1)].mean(dim=0) for part in table.split(space.widths)]  # NaN for no channel
    figure = Figure(figsize=(WIDE / 2, 0.9 + LAYER * len(space.layers)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(torch.stack(means), cmap=colormaps["magma_r"], vmin=0, aspect="auto", interpolation="none")
    axes.set_facecolor("#dddddd")
    _name_layers(axes, space)
    axes.set_xticks(range(len(REGIONS)), REGIONS, rotation=40, ha="right", rotation_mode="anchor")
    figure.colorbar(image, ax=axes, location="top", aspect=40, label="mean change of the pixels")
    return figure


def _bars(axes: Axes, groups: Sequence[Tensor]) -> None:
    """Bars of the groups' means, labelled with the groups' sizes; no bar for an empty group."""
    means = [float(group.mean()) if len(group) else 0.0 for group in groups]
    bars = axes.barh(range(len(groups)), means, color=BLUE, height=0.7)
    axes.bar_label(bars, [f" n={len(group)}" if len(group) else "" for group in groups], fontsize=7, color="#555555")
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.margins(x=0.12)
    axes.set_xlabel("mean |effect on the estimated age|, years per sd")
    axes.grid(axis="x")


def _rows(values: Tensor, space: StyleSpace) -> np.ndarray:
    """Values `[C]` as `[layers, widest]`, one row per layer; NaN where there is no channel."""
    rows = np.full((len(space.layers), max(space.widths)), np.nan)
    for row, part in zip(rows, space.split(values), strict=True):
        row[: len(part)] = part.numpy()
    return rows


def _name_layers(axes: Axes, space: StyleSpace) -> None:
    names = [f"{layer.name}  {layer.resolution} px" for layer in space.layers]
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.tick_params(axis="y", length=0)
