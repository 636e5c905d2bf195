"""Report of a channel analysis on one self-contained page: figures, the strongest age channels, and their gallery."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adfd.basics.files import Row
from adfd.report import pages
from adfd.report.channel_figures import compared, rank_correlation
from adfd.report.channel_gallery import Strips, step_name, strongest
from adfd.runs.tracking import Tracker
from adfd.stylespace.layout import StyleSpace
from adfd.stylespace.statistics import Channels

TOP = 50
"""Number of channels in the page's table; `channels.csv` has all."""
FACTS = {
    "generator": "generator",
    "n_samples": "random faces",
    "psi": "truncation psi of the faces",
    "n_pairs": "random pairs of faces",
    "n_permutations": "permutations of the null",
    "seed": "seed",
    "stability_age": "split-half rank correlation of coef_age",
    "stability_id": "split-half rank correlation of coef_id",
    "age_r2": "R² of the latent age path, on held-out faces",
    "n_faces_sensitivity": "faces of the sensitivity",
    "n_faces": "faces of the intervention",
    "k": "channels moved by, sd to either side",
}
COLUMNS = {
    "name": ("layer", ""),
    "resolution": ("px", "d"),
    "channel": ("channel", "d"),
    "r_age": ("r with age", "+.3f"),
    "coef_age": ("coef_age", ".3f"),
    "p_age": ("p", ".1g"),
    "q_age": ("q", ".1g"),
    "coef_id": ("coef_id", ".3f"),
    "sensitivity_age": ("gradient, years per sd", "+.2f"),
    "slope_age": ("effect, years per sd", "+.2f"),
    "slope_age_sd": ("its sd over faces", ".2f"),
    "p_slope": ("p of the effect", ".1g"),
    "id_change": ("identity change", ".3f"),
    "region": ("region", ""),
}
"""Statistics of the table of top channels: title and format."""
FIGURES = {
    "coef_age_map": "Correlation of each channel with the estimated age. Layers from coarse to fine.",
    "coef_id_map": "Correlation of each channel's difference between two faces with their identity distance.",
    "slope_age_map": "Effect of moving each channel on the estimated age: orange older, purple younger. Grey channels "
    "were not moved.",
    "coef_age_histogram": "Coefficients of age against those of permuted ages. Counts are on a logarithmic scale.",
    "coef_id_histogram": "Coefficients of identity against those of permuted identities.",
    "slope_and_coef": "Correlation with age against effect on age: each dot is a channel that was moved.",
    "slope_and_id": "Effect on age against change of identity. Bottom right: channels that change age alone.",
    "effect_by_place": "Effect on the estimated age by layer, and by the region that a channel changes most.",
    "layer_effects": "Effects on age and identity of moving whole layers along their correlations with age.",
    "region_change_map": "Change of each region by the moved channels of each layer.",
    "region_sensitivity_map": "Change of each region by the channels of each layer, from gradients (per sd).",
    "comparison": "Our coefficients against those of the file named in compare, over the channels that both measured.",
}


def key_numbers(channels: Channels, fdr: float, other: Channels | None = None) -> dict[str, Any]:
    """Key numbers of an analysis, by name, without those that were not measured."""
    numbers: dict[str, Any] = {key: value for key in FACTS if (value := getattr(channels, key)) is not None}
    for name in ("age", "id", "slope", "id_change"):
        if getattr(channels, f"p_{name}") is not None:
            numbers[f"significant_{name}"] = int(channels.significant(name, fdr).sum())
    if channels.slope_age is not None and channels.coef_age is not None:
        numbers["rank_correlation_slope_coef"] = rank_correlation(channels.slope_age.abs(), channels.coef_age)
    for name in ("coef_age", "coef_id"):
        if other is not None and (pair := compared(channels, other, name)) is not None:
            numbers[f"rank_correlation_compared_{name}"] = rank_correlation(*pair)
    return numbers


def top_channels(channels: Channels, space: StyleSpace) -> list[Row]:
    """The strongest age channels with their statistics, one row each."""
    return _rows(channels, space, strongest(channels)[:TOP])


def write(
    path: Path,
    channels: Channels,
    space: StyleSpace,
    fdr: float,
    figures: dict[str, Path],
    pictures: tuple[Strips | None, Sequence[Path]],
    other: Channels | None = None,
) -> None:
    """Write the page; `figures` are SVG files by name, `pictures` the gallery and the animation's files."""
    strips, animations = pictures
    rows = top_channels(channels, space)
    pages.write_page(
        path,
        "channels.html.j2",
        channels=channels,
        n_channels=space.n_channels,
        fdr=fdr,
        facts=[(title, _number(getattr(channels, key))) for key, title in FACTS.items() if key != "generator"],
        numbers=key_numbers(channels, fdr, other),
        figures=[
            (name, pages.inline(figures[name].read_text(encoding="utf-8")), text)
            for name, text in FIGURES.items()
            if name in figures
        ],
        columns=[(key, title) for key, (title, _) in COLUMNS.items() if rows and key in rows[0]],
        rows=[{key: (row[key], _cell(row[key], COLUMNS[key][1])) for key in COLUMNS if key in row} for row in rows],
        steps=[step_name(step) for step in strips.steps] if strips else [],
        strips=_strips(strips, _rows(channels, space, [strip.c for strip in strips.strips])) if strips else [],
        animations=[(file.suffix[1:], pages.data_uri(file.read_bytes(), _media(file))) for file in animations],
        moved=_place(strongest(channels)[0], space) if animations else "",
        furthest=max(strips.steps) if strips else 0,
    )


def tell(
    trackers: Sequence[Tracker],
    numbers: dict[str, Any],
    figures: dict[str, Path],
    pictures: tuple[Strips | None, Sequence[Path]],
    run: Path,
) -> None:
    """Log numbers, figures and pictures in the trackers; summary and table are passed to their `finish` later."""
    strips, animations = pictures
    for tracker in trackers:
        tracker.log({key: float(value) for key, value in numbers.items() if isinstance(value, int | float)})
        for name, file in figures.items():
            tracker.figure(name, file.with_suffix(".png"))
        if strips:
            tracker.sheet("gallery", run / "gallery.png")
        for file in animations:
            tracker.video(f"{file.stem}_{file.suffix[1:]}", file)


def _rows(channels: Channels, space: StyleSpace, chosen: Sequence[int]) -> list[Row]:
    """Rows of the chosen channels with their statistics; None where a statistic was not measured."""
    columns = {key: values for key, values in channels.columns(space).items() if values is not None}
    return [{key: None if values[c] == "" else values[c] for key, values in columns.items()} for c in chosen]


def _strips(strips: Strips, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The gallery for the template: for each channel its row and its pictures as data URIs, with the readings."""
    middle = strips.steps.index(0)
    return [
        {
            "row": {key: (title, _cell(row[key], form)) for key, (title, form) in COLUMNS.items() if key in row},
            "control": strip.control,
            "tiles": [
                (pages.picture(picture, size=224), age, age - strip.ages[middle], similarity)
                for picture, age, similarity in zip(strip.pictures, strip.ages, strip.id_similarities, strict=True)
            ],
        }
        for strip, row in zip(strips.strips, rows, strict=True)
    ]


def _place(c: int, space: StyleSpace) -> str:
    layer, channel = space.locate(c)
    return f"{space.layers[layer].name}, channel {channel}"


def _media(file: Path) -> str:
    return "image/gif" if file.suffix == ".gif" else "video/mp4"


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}".replace(",", " ")


def _cell(value: Any, form: str) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else f"{value:{form}}"
