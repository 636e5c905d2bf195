"""Figures of an analysis, of statistics whose picture is known."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

from adfd.models.networks import Networks
from adfd.report.channel_figures import (
    compared,
    draw,
    effect_by_place,
    heat_map,
    histogram,
    layer_effects,
    rank_correlation,
    write,
)
from adfd.stylespace.layout import StyleLayer, StyleSpace
from adfd.stylespace.regions import REGIONS
from adfd.stylespace.statistics import Channels
from tests.stylespace.test_statistics import KNOWN, SPACE

NAN = torch.nan


def moved(channels: Channels) -> Channels:
    """With an invented intervention on every third channel."""
    assert channels.r_age is not None
    assert channels.coef_id is not None
    n = len(channels.r_age)
    some = torch.arange(n) % 3 == 0
    changes = torch.where(some[:, None], torch.rand(n, len(REGIONS), generator=torch.Generator().manual_seed(0)), NAN)
    return replace(
        channels,
        slope_age=torch.where(some, 4 * channels.r_age, NAN),
        p_slope=torch.where(some, 1e-4, NAN),
        id_change=torch.where(some, channels.coef_id, NAN),
        region_change=changes,
    )


@pytest.fixture(scope="module")
def known(tiny: Networks) -> Channels:
    assert tiny.channels is not None
    return moved(tiny.channels)


def test_figures_follow_what_was_measured(tiny: Networks, known: Channels, tmp_path: Path) -> None:
    assert tiny.channels is not None
    correlation = {"coef_age_map", "coef_id_map", "coef_age_histogram", "coef_id_histogram"}
    others = ("slope_age", "p_slope", "id_change", "region_change", "region_sensitivity")
    alone = replace(tiny.channels, **dict.fromkeys(others))  # type: ignore[arg-type]
    assert set(draw(alone, tiny.space, 0.01)) == correlation
    intervention = {"slope_age_map", "slope_and_coef", "slope_and_id", "effect_by_place", "region_change_map"}
    figures = draw(known, tiny.space, 0.01, other=tiny.channels)
    assert set(figures) == correlation | intervention | {"comparison", "region_sensitivity_map"}
    published = Channels("tiny-0", coef_age=known.coef_age, coef_id=known.coef_id)
    assert set(draw(published, tiny.space, 0.01)) == {"coef_age_map", "coef_id_map"}
    files = write(tmp_path / "figures", figures)
    assert set(files) == set(figures)
    for name, file in files.items():
        assert ET.parse(file).getroot().tag.endswith("svg"), name
        assert Image.open(file.with_suffix(".png")).width > 400, name


@pytest.mark.thorough
def test_the_same_statistics_are_the_same_bytes(tiny: Networks, known: Channels, tmp_path: Path) -> None:
    names = ("coef_age_map", "slope_and_coef")
    texts = []
    for folder in ("a", "b"):
        figures = draw(known, tiny.space, 0.01)
        files = write(tmp_path / folder, {name: figures[name] for name in names})
        texts.append([files[name].read_bytes() for name in names])
    assert texts[0] == texts[1]
    assert b"dc:date" not in texts[0][0]


def test_heat_map_has_a_row_per_layer_and_a_column_per_channel() -> None:
    assert KNOWN.coef_age is not None
    figure = heat_map("coef_age", KNOWN.coef_age, KNOWN.significant("age", 0.01), SPACE, 0.01)
    exists, values = (image.get_array() for image in figure.axes[0].images)
    assert exists is not None
    assert values is not None
    assert values.filled(-1).round(3).tolist() == [[0.1, 0.9, 0.5], [1.0, -1, -1], [0.3, 0.2, -1]]
    assert exists.filled(0).tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a  8 px", "rgb  8 px", "b  16 px"]
    shares = [bar.get_width() for bar in figure.axes[1].patches]  # type: ignore[attr-defined]
    assert shares == pytest.approx([200 / 3, 100, 0])


def test_signed_statistics_are_centred_on_zero() -> None:
    assert KNOWN.slope_age is not None
    image = heat_map("slope_age", KNOWN.slope_age, None, SPACE, 0.01).axes[0].images[1]
    assert image.get_clim() == (-4, 4)
    assert image.get_cmap().name == "PuOr_r"


def test_histogram_counts_channels_and_what_noise_alone_would_give() -> None:
    rng = torch.Generator().manual_seed(0)
    noise = torch.rand(1000, generator=rng) * 0.1
    channels = replace(
        KNOWN,
        coef_age=torch.cat([noise[:950], torch.full((50,), 0.5)]),
        p_age=torch.cat([torch.full((950,), 0.6), torch.full((50,), 1e-5)]),
        null_age=torch.linspace(0, 0.1, 1001),
    )
    axes = histogram(channels, "age", 0.01).axes[0]
    found, expected = (steps.get_data().values for steps in axes.patches)  # type: ignore[attr-defined]
    assert (found.sum(), found[-1], found[18:-1].sum()) == (1000, 50, 0)
    assert expected.sum() == pytest.approx(1000)
    assert expected[:17] == pytest.approx(1000 * 0.5 / 90 / 0.1)
    assert (expected[19:] == 0).all()
    (line,) = axes.lines
    assert list(line.get_xdata()) == [0.5, 0.5]  # type: ignore[arg-type]
    assert "50 channels from 0.500 up" in str(line.get_label())
    null = replace(channels, p_age=torch.full((1000,), 0.6))
    assert not histogram(null, "age", 0.01).axes[0].lines


def test_comparison_is_over_what_both_know(tiny: Networks, known: Channels) -> None:
    assert known.coef_age is not None
    other = replace(known, coef_age=torch.where(tiny.space.to_rgb_mask, 0.0, known.coef_age.flip(0)), coef_id=None)
    pair = compared(known, other, "coef_age")
    assert pair is not None
    conv = tiny.space.conv_mask
    assert torch.equal(pair[1], known.coef_age[conv])
    expected = spearmanr(known.coef_age.flip(0)[conv], known.coef_age[conv]).statistic
    assert rank_correlation(*pair) == pytest.approx(expected)
    assert compared(known, other, "coef_id") is None
    axes = draw(known, tiny.space, 0.01, other)["comparison"].axes
    assert len(axes) == 1
    assert axes[0].get_title() == f"rank correlation {expected:.2f} over {int(conv.sum())} channels"


def test_rank_correlation_leaves_out_what_is_not_known() -> None:
    x, y = torch.tensor([1.0, 2, 3, NAN, 4]), torch.tensor([1.0, 3, 2, 0, NAN])
    assert rank_correlation(x, y) == pytest.approx(0.5)
    assert torch.tensor(rank_correlation(x[2:], y[2:])).isnan()


def test_effects_are_means_over_the_moved_channels() -> None:
    space = StyleSpace((StyleLayer("a", 3, 8, 0), StyleLayer("b", 2, 16, 1)))
    figure = effect_by_place(torch.tensor([1.0, 3, NAN, NAN, NAN]), ["hair", "nose", "hair", "", ""], space)
    layers, regions = ([bar.get_width() for bar in axes.patches] for axes in figure.axes)  # type: ignore[attr-defined]
    assert layers == [2, 0]
    assert regions == [1, 0, 0, 3, 0, 0, 0]
    labels = [re.sub(r"\s", "", text.get_text()) for text in figure.axes[0].texts]
    assert labels == ["n=2", ""]


def test_layers_show_their_effects() -> None:
    space = StyleSpace((StyleLayer("a", 3, 8, 0), StyleLayer("b", 2, 16, 1)))
    figure = layer_effects(torch.tensor([0.5, -1.0]), torch.tensor([0.1, NAN]), space)
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == [0.5, -1.0]
    assert [bar.get_width() for bar in right.patches] == pytest.approx([0.1, 0.0])
    assert [label.get_text() for label in left.get_yticklabels()] == ["a  8 px", "b  16 px"]
