"""The channels file, and the weights that come of it."""

from __future__ import annotations

import csv
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adfd.basics.errors import AdfdError
from adfd.models.mobile import SHIPPED_CHANNELS
from adfd.models.networks import Networks
from adfd.stylespace.layout import StyleLayer, StyleSpace
from adfd.stylespace.regions import REGIONS, region_masks, region_means, region_shares
from adfd.stylespace.statistics import SCHEMA_VERSION, Channels, adjusted
from adfd.stylespace.weights import channel_weights
from tests.conftest import PAPER_WEIGHTS

SPACE = StyleSpace((StyleLayer("a", 3, 8, 0), StyleLayer("rgb", 1, 8, 1, to_rgb=True), StyleLayer("b", 2, 16, 2)))
KNOWN = Channels(
    "six",
    coef_age=torch.tensor([0.1, 0.9, 0.5, 1.0, 0.3, 0.2]),
    coef_id=torch.tensor([0.1, 0.1, 0.5, 0.0, 0.1, 0.2]),
    p_age=torch.tensor([0.9, 1e-6, 1e-6, 1e-6, 0.5, 0.8]),
    slope_age=torch.tensor([torch.nan, 2.0, -4.0, torch.nan, 1.0, torch.nan]),
    id_change=torch.tensor([torch.nan, 0.1, 0.4, torch.nan, 0.0, torch.nan]),
)


def test_weights_are_min_max_of_age_and_not_identity(tiny: Networks) -> None:
    channels, conv = tiny.channels, tiny.conv_mask
    assert channels is not None
    assert channels.coef_age is not None
    assert channels.coef_id is not None
    m = channel_weights(channels, tiny.space, PAPER_WEIGHTS)
    assert m[conv].min() == 0
    assert m[conv].max() == 1
    assert (m[~conv] == 0).all()
    score = channels.coef_age + 1 - channels.coef_id
    assert m[conv].argmax() == score[conv].argmax()


def test_kinds_of_weights() -> None:
    paper = channel_weights(KNOWN, SPACE, PAPER_WEIGHTS)
    assert paper.tolist() == pytest.approx([0, 1, 0, 0, 0.25, 0], abs=1e-6)
    to_rgb = channel_weights(KNOWN, SPACE, replace(PAPER_WEIGHTS, to_rgb=True))
    assert to_rgb.tolist() == pytest.approx([0, 0.8, 0, 1, 0.2, 0], abs=1e-6)
    squared = channel_weights(KNOWN, SPACE, replace(PAPER_WEIGHTS, exponent=2))
    assert squared.tolist() == pytest.approx([0, 1, 0, 0, 0.0625, 0], abs=1e-6)
    one = channel_weights(KNOWN, SPACE, replace(PAPER_WEIGHTS, weights="top_k", top_k=1))
    assert one.nonzero().flatten().tolist() == [1]
    above_noise = channel_weights(KNOWN, SPACE, replace(PAPER_WEIGHTS, weights="fdr"))
    assert above_noise.nonzero().flatten().tolist() == [1]
    causal = channel_weights(KNOWN, SPACE, replace(PAPER_WEIGHTS, weights="causal"))  # 1.25, 1.0 and 1.25, of three
    assert causal.tolist() == pytest.approx([0, 1, 0, 0, 1, 0], abs=1e-6)


def test_weights_of_sensitivity_are_the_faces_change_over_identitys() -> None:
    sensitivity = torch.zeros(6, len(REGIONS))
    sensitivity[:, REGIONS.index("eyes")] = torch.tensor([1.0, 1.0, 2.0, 9.0, 4.0, 9.0])
    sensitivity[1, REGIONS.index("background")] = 100.0  # does not count
    channels = replace(
        KNOWN, region_sensitivity=sensitivity, sensitivity_id=torch.tensor([1.0, 2.0, 1.0, 1.0, 4.0, 1.0])
    )
    m = channel_weights(channels, SPACE, replace(PAPER_WEIGHTS, weights="sensitivity"))
    ratio = torch.tensor([1.0, 0.5, 2.0, 9.0, 1.0, 9.0])  # of the convolution channels, the largest is just above 95 %
    among = ratio[SPACE.conv_mask]
    assert m[SPACE.conv_mask].tolist() == pytest.approx((among / np.quantile(among, 0.95)).clamp_max(1).tolist())
    assert (m[~SPACE.conv_mask] == 0).all()
    squared = channel_weights(channels, SPACE, replace(PAPER_WEIGHTS, weights="sensitivity", exponent=2))
    assert torch.allclose(squared, m.square())


def test_weights_of_regions() -> None:
    sensitivity = torch.full((6, len(REGIONS)), 0.01)
    sensitivity[1, REGIONS.index("hair")] = 1.0
    sensitivity[4, REGIONS.index("mouth")] = 1.0
    channels = replace(KNOWN, region_sensitivity=sensitivity)
    hair = channel_weights(channels, SPACE, replace(PAPER_WEIGHTS, regions=["hair"]))
    assert hair.nonzero().flatten().tolist() == [1]
    bald = channel_weights(channels, SPACE, replace(PAPER_WEIGHTS, exclude_regions=["hair"]))
    assert bald.nonzero().flatten().tolist() == [4]
    with pytest.raises(AdfdError, match=r"no channel of six is left .*regions=\['nose'\].*lower channels\.min_share"):
        channel_weights(channels, SPACE, replace(PAPER_WEIGHTS, regions=["nose"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "magic"}, "channels.weights must be one of paper, causal, sensitivity, top_k, fdr, got magic"),
        ({"top_k": 0}, "channels.top_k must be at least 1, got 0"),
        ({"fdr": 0.0}, "channels.fdr must lie between 0 and 1"),
        ({"exponent": -1.0}, "channels.exponent must be a number of at least 0"),
        ({"regions": ["beard"]}, "channels.regions must be of hair, forehead, eyes, nose, mouth, jaw, background, got"),
        ({"min_share": 0.0}, "channels.min_share must lie in 0..1"),
    ],
)
def test_impossible_weights_are_refused(change: dict, message: str) -> None:
    with pytest.raises(AdfdError) as error:
        replace(PAPER_WEIGHTS, **change)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "analysis"),
    [
        ({"weights": "causal"}, "intervention"),
        ({"weights": "sensitivity"}, "sensitivity.*, or channels.weights=paper"),
        ({"regions": ["hair"]}, "sensitivity"),
        ({}, "correlation"),
    ],
)
def test_weights_name_the_analysis_that_they_lack(change: dict, analysis: str) -> None:
    lacking = replace(KNOWN, slope_age=None, coef_id=None if not change else KNOWN.coef_id)
    with pytest.raises(AdfdError, match=f"analysis={analysis}"):
        channel_weights(lacking, SPACE, replace(PAPER_WEIGHTS, **change))


def test_without_p_values_nothing_is_called_significant() -> None:
    with pytest.raises(AdfdError, match="come without p_age"):
        replace(KNOWN, p_age=None).significant("age", 0.01)
    assert KNOWN.significant("age", 0.01).tolist() == [False, True, True, True, False, False]


def test_adjusted_p_values_are_benjamini_hochbergs() -> None:
    p = torch.tensor([0.01, torch.nan, 0.04, 0.03, 0.5])
    q = adjusted(p)
    assert q[1].isnan()
    assert q[[0, 2, 3, 4]].tolist() == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5], abs=1e-6)


def test_files_of_others_are_refused(tmp_path: Path, tiny: Networks) -> None:
    assert tiny.channels is not None
    with pytest.raises(AdfdError, match="made for generator mobilestylegan-ffhq-1024, not tiny-0"):
        Channels.load(SHIPPED_CHANNELS, "tiny-0")
    with pytest.raises(AdfdError, match="does not exist"):
        Channels.load(tmp_path / "none.npz", "tiny-0")
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    with pytest.raises(AdfdError, match=r"bad\.npz is not readable"):
        Channels.load(tmp_path / "bad.npz", "tiny-0")
    np.savez(tmp_path / "old.npz", schema_version=np.asarray(1), generator=np.asarray("tiny-0"))
    with pytest.raises(AdfdError, match=f"schema 1, this program reads 2, 3 and {SCHEMA_VERSION}; make one with"):
        Channels.load(tmp_path / "old.npz", "tiny-0")
    np.savez(tmp_path / "other.npz", schema_version=SCHEMA_VERSION, generator=np.asarray("tiny-0"), more=np.zeros(3))
    with pytest.raises(AdfdError, match=f"schema {SCHEMA_VERSION}"):
        Channels.load(tmp_path / "other.npz", "tiny-0")


def test_a_file_holds_what_was_known(tmp_path: Path, tiny: Networks) -> None:
    assert tiny.channels is not None
    replace(tiny.channels, seed=5, p_id=None).save(tmp_path / "ours.npz")
    read = Channels.load(tmp_path / "ours.npz", "tiny-0")
    assert read.seed == 5
    assert read.p_id is None
    for field in fields(Channels):
        a, b = getattr(tiny.channels, field.name), getattr(read, field.name)
        if isinstance(b, torch.Tensor):
            assert torch.equal(a.nan_to_num(), b.nan_to_num())


@pytest.mark.parametrize("version", [2, 3])
def test_files_of_earlier_versions_are_read(tmp_path: Path, version: int) -> None:
    np.savez(tmp_path / "old.npz", schema_version=version, generator=np.asarray("tiny-0"), age_year=np.ones(3))
    read = Channels.load(tmp_path / "old.npz", "tiny-0")
    assert read.age_year is not None
    assert read.age_features is None


def test_a_folder_stands_for_the_generators_file(tmp_path: Path) -> None:
    assert Channels.load(SHIPPED_CHANNELS.parent, "tiny-0").generator == "tiny-0"
    with pytest.raises(AdfdError, match=r"channels file .*absent/tiny-0\.npz does not exist; make one with"):
        Channels.load(tmp_path / "absent", "tiny-0")


def test_csv_has_a_line_per_channel(tmp_path: Path) -> None:
    KNOWN.write_csv(tmp_path / "channels.csv", SPACE)
    lines = list(csv.DictReader((tmp_path / "channels.csv").open()))
    assert [(line["layer"], line["channel"], line["name"]) for line in lines][3:5] == [
        ("1", "0", "rgb"),
        ("2", "0", "b"),
    ]
    assert float(lines[1]["coef_age"]) == pytest.approx(0.9)
    assert lines[0]["slope_age"] == ""
    assert "r_age" not in lines[0]


def test_regions_cover_the_face_once() -> None:
    for size in (32, 256):
        masks = region_masks(size)
        assert (masks.sum(dim=0) == 1).all()
        assert masks.flatten(1).any(dim=1).all()
    landmarks = {"eyes": (122, 96), "nose": (168, 127), "mouth": (196, 128), "jaw": (232, 128), "forehead": (88, 128)}
    for name, (y, x) in (landmarks | {"hair": (40, 128), "background": (20, 10)}).items():
        assert region_masks()[REGIONS.index(name), y, x], name


def test_region_means() -> None:
    masks = region_masks(64)
    values = (masks * torch.arange(7)[:, None, None]).sum(dim=0)
    assert region_means(values[None].float())[0].tolist() == pytest.approx(list(range(7)))


def test_region_shares() -> None:
    difference = 2 * region_masks(64)[REGIONS.index("mouth")].float().expand(3, -1, -1)
    assert region_shares(difference).tolist() == pytest.approx([float(name == "mouth") for name in REGIONS])
    even = region_shares(torch.ones(2, 3, 64, 64))
    assert even.shape == (2, len(REGIONS))
    assert even.sum(dim=1).tolist() == pytest.approx([1, 1])
    assert even[0, 0].item() == pytest.approx(region_masks(64)[0].float().mean().item())
