"""Ages by lambdas, of rows whose means are known."""

from __future__ import annotations

import math

import pytest

from adfd.basics.files import Row
from adfd.report.heat_map import draw, heat_maps, markdown


def row(target_age: float, error: float, identity: float, status: str = "ok") -> Row:
    age = target_age + error if status == "ok" else None
    return {"target_age": target_age, "age": age, "id_similarity_source": identity, "status": status}


JOBS = [
    ({"aging": 1.0, "id": 0.1}, [row(20, 4, 0.5), row(20, -2, 0.7), row(70, 10, 0.4)]),
    ({"aging": 10.0, "id": 0.1}, [row(20, 1, 0.5), row(20, 0, 0, "failed")]),
    ({"aging": 10.0, "id": 0.5}, [row(20, 3, 0.9)]),
]


def test_cells_are_means_over_the_outputs_of_an_age_and_a_lambda() -> None:
    aging, identity = heat_maps(JOBS)
    assert (aging.lambda_name, aging.ages, aging.values) == ("aging", (20, 70), (1, 10))
    assert aging.scores["age_error"][0].tolist() == [3, 2]
    assert aging.scores["id_similarity_source"][0].tolist() == pytest.approx([0.6, 0.7])
    assert aging.scores["harmonic"][0, 1] == pytest.approx(2 * 95 * 70 / (95 + 70))
    assert math.isnan(aging.scores["age_error"][1, 1])  # nobody was edited at 70 there
    assert (identity.lambda_name, identity.values) == ("id", (0.1, 0.5))
    assert identity.scores["age_error"][0].tolist() == pytest.approx([7 / 3, 3])


def test_a_lambda_that_all_jobs_share_has_no_map() -> None:
    assert heat_maps(JOBS[:1]) == []
    assert [shown.lambda_name for shown in heat_maps(JOBS[:2])] == ["aging"]


def test_the_picture_and_the_table_say_the_numbers() -> None:
    shown = heat_maps(JOBS)[0]
    texts = [text.get_text() for text in draw(shown).axes[0].texts]
    assert texts == ["3.00", "2.00", "10.0"]
    assert markdown(shown, "age_error").splitlines() == [
        "| age \\ loss.aging | 1 | 10 |",
        "| --- | --- | --- |",
        "| 20 | 3.00 | 2.00 |",
        "| 70 | 10.0 |  |",
    ]
