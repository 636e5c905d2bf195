"""Jobs compared photo by photo: an effect that persons' differences hide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adfd.basics.files import Row
from adfd.basics.harmonic import harmonic_score
from adfd.evaluation.bootstrap import Bootstrap
from adfd.evaluation.jobs import Job, estimates
from adfd.evaluation.paired import against, differences
from adfd.report import paper_tables

BOOTSTRAP = Bootstrap(n_resamples=500, confidence=0.95, seed=0)
PERSONS = np.random.default_rng(0).normal(0.5, 0.2, 12)


def job(method: str, rows: list[Row]) -> Job:
    judges = dict.fromkeys(("age", "identity", "lpips"), "random")
    made = estimates(rows, BOOTSTRAP)
    return Job(Path(f"/{method}"), method, method, (), "", {"method": {}}, "finished", "", rows, made, {}, judges)


def rows_of(shift: float, seed: int, n: int = 12) -> list[Row]:
    noise = np.random.default_rng(seed).normal(0, 0.01, (n, 2))
    return [
        {"photo": f"p{i}", "target_age": 70.0, "output": k, "status": "ok", "failed": 0.0}
        | {"lpips": PERSONS[i] + shift + noise[i, k], "age": 71.0 + k + shift, "id_similarity_source": 0.5 + shift}
        for i in range(n)
        for k in range(2)
    ]


def test_an_effect_below_the_persons_spread_is_seen() -> None:
    ours, theirs = job("diversify", rows_of(0.03, 1)), job("perturb", rows_of(0.0, 2))
    assert ours.estimates["lpips"].low < theirs.estimates["lpips"].high  # side by side nothing is told
    made = differences(theirs, ours, BOOTSTRAP)["lpips"]
    assert made.mean == pytest.approx(theirs.estimates["lpips"].mean - ours.estimates["lpips"].mean)
    assert made.low < made.mean < made.high < 0
    assert (made.n_photos, made.n_outputs) == (12, 24)
    mirrored = differences(ours, theirs, BOOTSTRAP)["lpips"]
    assert (mirrored.low, mirrored.high) == pytest.approx((-made.high, -made.low))


def test_only_what_both_have_is_compared() -> None:
    ours, theirs = job("diversify", rows_of(0.0, 1)), job("perturb", rows_of(0.0, 1, 5))
    made = differences(theirs, ours, BOOTSTRAP)
    assert made["lpips"].mean == 0
    assert made["lpips"].n_photos == 5
    assert "failures" not in made  # a count is no mean over photos
    assert "lpips" not in differences(replace(theirs, judges=theirs.judges | {"lpips": "another"}), ours, BOOTSTRAP)
    other = [row | {"target_age": 20.0} for row in rows_of(0.0, 1)]
    assert "lpips" not in differences(job("perturb", other), ours, BOOTSTRAP)


def test_the_harmonic_score_is_of_each_side() -> None:
    ours, theirs = job("diversify", rows_of(0.1, 1)), job("perturb", rows_of(0.0, 1))
    made = differences(theirs, ours, BOOTSTRAP)["harmonic"]
    import torch

    scores = [harmonic_score(*torch.tensor([1.5 + shift, 0.5 + shift])).item() for shift in (0.0, 0.1)]
    assert made.mean == pytest.approx(scores[0] - scores[1], abs=1e-4)


def test_the_table_marks_what_is_told() -> None:
    jobs = [job("perturb", rows_of(0.0, 2)), job("diversify", rows_of(0.03, 1)), job("uniform", rows_of(0.03, 4))]
    other = against(jobs, "diversify")
    assert other is jobs[1]
    assert against(jobs, "guided") is None
    table = paper_tables.paired(jobs, other, ["lpips"], BOOTSTRAP)
    assert table.labels == ("perturb minus diversify", "uniform minus diversify")
    (column,) = table.columns
    assert column.text(0).startswith("-0.0")
    assert column.best() == {0}
    assert "**-0.0" in paper_tables.markdown(table)
    assert "differences to diversify" in table.notes[0]
    assert against([*jobs, replace(jobs[1], overrides=("loss.id=1",), directory=Path("/x"))], "diversify loss.id=1")
