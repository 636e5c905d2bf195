"""Calibration of the independent judges, and the columns that follow from their readings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from adfd.basics.errors import AdfdError
from adfd.evaluation import calibration
from adfd.evaluation.calibration import Calibration, equated, threshold
from adfd.evaluation.independent import Independent, natural_rows
from adfd.evaluation.metrics import Worst


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
        "natural_age": np.array([20.0, 20.5, 19.6, 60.0]),
        "natural_panel": np.array([23.0, 20.0, 18.0, 55.0]),
        "natural_female": np.ones(4),
        "natural_male": np.zeros(4),
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
    rows = natural_rows(straight(), [{"target_age": 18.0, "age": 20.0}, {"target_age": 70.0, "age": 60.0}])
    assert len(rows) == 20  # of 60 years there is one alone
    assert {r["target_age"] for r in rows} == {18.0}
    gaps = {abs(r["age_gap_signed"]) for r in rows}
    assert gaps <= {2.0, 3.0, 5.0}
    assert all(r["panel_age"] - r["panel_age_anchor"] == r["age_gap_signed"] != 0 for r in rows)
    with pytest.raises(AdfdError, match="age was read"):
        natural_rows(straight(), [{"target_age": 18.0}])


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
    assert len(known.natural_age) >= 500
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
