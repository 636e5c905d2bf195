"""Calibration of the independent judges, and the columns that follow from their readings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from adfd.basics.errors import AdfdError
from adfd.evaluation import calibration, natural
from adfd.evaluation.bootstrap import Bootstrap
from adfd.evaluation.calibration import Calibration, equated, threshold
from adfd.evaluation.independent import Independent
from adfd.evaluation.metrics import Extreme, Worst
from adfd.evaluation.natural import Natural
from adfd.evaluation.pass_curve import YEARS, lines, pass_curve, write


def straight(**changes: object) -> Calibration:
    """Years as they are read, one person above a cosine of 0.7, natural faces of 20 and 60 years."""
    values = {
        "faceres_curve": np.array([[10.0, 10.0], [70.0, 70.0]]),
        "faceapi_curve": np.array([[10.0, 10.0], [70.0, 70.0]]),
        "same_person": 0.7,
        "same_person_in_loop": 0.9,
        "residual_faceres": 6.0,
        "residual_faceapi": 5.0,
        "residual_panel": 4.0,
        "n_faces": 100,
        "seed": 0,
        "psi": 0.9,
    }
    return Calibration(**(values | changes))  # type: ignore[arg-type]


def row(output: int, age: float, identity: float, distances: list[float], **more: object) -> dict:
    readings = {"faceres_age": age + 1, "faceapi_age": age - 1, "faceres_age_anchor": 20.0, "faceapi_age_anchor": 20.0}
    verdicts = {"id_independent_source": identity, "id_independent_anchor": identity, "id_similarity_source": 0.95}
    return {"output": output, "target_age": 20.0, "age": 20.0, "lpips_to": distances} | readings | verdicts | more


def judge(rows: list[dict], known: Calibration | None = None) -> list[dict]:
    return Independent(None, None, known or straight(), 8, in_loop_threshold=0.9).complete(rows)


def test_ages_are_calibrated_and_both_judges_shown() -> None:
    known = straight(faceres_curve=np.array([[10.0, 20.0], [70.0, 80.0]]))
    (made,) = judge([row(0, 30, 0.9, [])], known)
    assert (made["faceres_years"], made["faceapi_years"]) == pytest.approx((41, 29))
    assert made["panel_age"] == pytest.approx(35)
    assert made["panel_age_anchor"] == pytest.approx(25)
    assert made["age_gap_signed"] == pytest.approx(10)
    assert made["age_gap_requested_signed"] == pytest.approx(15)
    assert made["panel_disagreement"] == pytest.approx(12)
    assert made["judges_disagree"] == 1


def test_beyond_its_support_a_calibration_says_so() -> None:
    inside, outside = judge([row(0, 60, 0.9, [0, 1]), row(1, 75, 0.9, [1, 0])])
    assert (inside["panel_supported"], outside["panel_supported"]) == (1, 0)
    assert outside["panel_age"] == 70


def test_diversity_counts_among_those_that_pass() -> None:
    distances = [[0.0, 0.4, 0.6, 0.9], [0.4, 0.0, 0.5, 0.8], [0.6, 0.5, 0.0, 0.7], [0.9, 0.8, 0.7, 0.0]]
    good, fair = row(0, 21, 0.9, distances[0]), row(1, 24.9, 0.71, distances[1])
    toddler, stranger = row(2, 6, 0.9, distances[2]), row(3, 20, 0.69, distances[3])
    made = judge([good, fair, toddler, stranger])
    assert [r["passes"] for r in made] == [1, 1, 0, 0]
    assert [r.get("lpips_matched") for r in made] == [0.4, 0.4, None, None]
    assert made[2]["lpips"] == pytest.approx(0.6)
    assert [r["lpips_credited"] for r in made] == pytest.approx([0.4 / 3, 0.4 / 3, 0, 0])
    assert [r["verified"] for r in made] == [1, 1, 1, 0]
    assert {r["verified_in_loop"] for r in made} == {1}


def test_what_no_judge_read_is_absent() -> None:
    (made,) = judge([{"output": 0, "target_age": 20.0, "age": 20.0}])
    assert set(made) == {"output", "target_age", "age"}


def test_natural_faces_stand_in_for_outputs_of_their_age() -> None:
    age, panel = np.array([20.0, 20.5, 19.6, 60.0]), np.array([23.0, 20.0, 18.0, 55.0])
    faces = Natural(age, panel, panel, np.ones((4, 2)), 0, 0.8)
    outputs = [{"target_age": 18.0, "age": 20.0}, {"target_age": 70.0, "age": 60.0}]
    rows = natural.rows(faces, straight(), outputs, flag_years=2.5)
    assert len(rows) == 20  # of 60 years there is one alone
    assert {r["target_age"] for r in rows} == {18.0}
    assert {r["photo"] for r in rows} == {"natural 0", "natural 1", "natural 2"}
    assert {abs(r["age_gap_signed"]) for r in rows} == {2.0, 3.0, 5.0}
    assert all(r["panel_age"] - r["panel_age_anchor"] == pytest.approx(r["age_gap_signed"]) for r in rows)
    assert {r["panel_age"] for r in rows} == {23.0, 19.5, 18.4}  # the output's age and what the panel adds to a face's
    assert {r["judges_disagree"] for r in rows if r["photo"] == "natural 0"} == {1.0}
    with pytest.raises(AdfdError, match="age was read"):
        natural.rows(faces, straight(), [{"target_age": 18.0}], 10)


def test_natural_faces_are_kept(tmp_path: Path) -> None:
    known = natural.shipped()
    assert len(known.age) >= 350
    assert 0.7 <= known.psi <= 0.8
    assert len(known.near(70)) >= 20
    assert len(known.near(20)) >= 30
    known.save(tmp_path / "again.npz")
    again = Natural.load(tmp_path / "again.npz")
    np.testing.assert_array_equal(again.age, known.age)
    np.testing.assert_allclose(again.features, known.features, atol=known.features.max(axis=0).max() / 255)
    with pytest.raises(AdfdError, match="holds no natural faces"):
        Natural.load(tmp_path / "none.npz")


def test_equating_finds_a_monotone_map_and_keeps_the_spread() -> None:
    generator = np.random.default_rng(0)
    age = generator.gamma(6, 6, 4000)
    reading = 10 + age**1.2 / 3 + generator.normal(0, 1, 4000)
    curve = equated(reading, age)
    assert (np.diff(curve, axis=0) > 0).all()
    mapped = np.interp(reading, curve[:, 0], curve[:, 1])
    assert mapped.std() == pytest.approx(age.std(), rel=0.02)
    assert np.abs(mapped - age).mean() < 2
    with pytest.raises(AdfdError, match="at least 50 faces, got 20"):
        equated(reading[:20], age[:20])


def test_a_threshold_lets_one_pair_in_a_thousand_through() -> None:
    vectors = np.random.default_rng(0).normal(size=(400, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    exceeding = similarity[np.triu_indices(400, 1)] > threshold(similarity)
    assert exceeding.mean() == pytest.approx(1e-3, rel=0.05)


def test_the_shipped_calibration_is_sound(tmp_path: Path) -> None:
    known = calibration.shipped()
    assert known.n_faces >= 500
    assert 3 < known.residual_panel < min(known.residual_faceres, known.residual_faceapi) < 8
    assert 0.55 < known.same_person < 0.8
    known.save(tmp_path / "again.npz")
    again = Calibration.load(tmp_path / "again.npz")
    np.testing.assert_array_equal(again.faceres_curve, known.faceres_curve)
    with pytest.raises(AdfdError, match="is no calibration"):
        Calibration.load(tmp_path / "none.npz")
    with pytest.raises(AdfdError, match="faceres_curve must rise"):
        straight(faceres_curve=np.array([[10.0, 10.0], [70.0, 9.0]]))


def test_worst_is_the_largest_over_all_outputs() -> None:
    metric = Worst()
    metric.update(torch.tensor([0, 0, 1]), torch.tensor([1.0, -7.0, 3.0]))
    assert metric.compute() == 7


def test_an_extreme_is_what_one_in_twenty_exceeds() -> None:
    metric = Extreme()
    metric.update(torch.arange(101), torch.linspace(-10, 0, 101))
    assert metric.compute().item() == pytest.approx(9.5)


def test_diversity_over_the_threshold_of_what_passes(tmp_path: Path) -> None:
    distances = [[0.0, 0.4, 0.6], [0.4, 0.0, 0.5], [0.6, 0.5, 0.0]]
    rows = [row(k, age, 0.9, distances[k], photo="a", status="ok") for k, age in enumerate((21, 23.5, 32))]
    curve = pass_curve(judge(rows), Bootstrap(100, 0.95, 0))
    assert list(curve) == list(YEARS)
    credited = {years: values["lpips_credited"].mean for years, values in curve.items()}
    assert credited[1] == credited[3] == 0
    assert credited[4] == credited[10] == pytest.approx(0.8 / 6)
    assert credited[15] == pytest.approx(0.5)
    assert [curve[years]["passes"].mean for years in (1, 4, 15)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert curve[4]["lpips_matched"].mean == pytest.approx(0.4)
    assert "lpips_matched" not in curve[1]
    assert pass_curve(rows, Bootstrap(100, 0.95, 0)) == {}  # the panel read nothing
    write({"diversify": curve}, tmp_path / "curve")
    kept = json.loads((tmp_path / "curve.json").read_text())
    assert len(kept) == len(lines({"diversify": curve})) == len((tmp_path / "curve.csv").read_text().splitlines()) - 1
