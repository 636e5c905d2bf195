"""The fits of the nature analysis, on latents whose dependence on age and gender is planted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from adfd.analysis.nature import features_model, fit, older_year, readout, spreads_by_age, younger_year
from adfd.basics.errors import AdfdError
from adfd.models.age_path import LatentAgePath
from adfd.models.sources import Sources
from adfd.stylespace.statistics import Channels

N, D = 4000, 6


@pytest.fixture(scope="module")
def planted() -> dict[str, Tensor]:
    """Faces among which women are younger: `w` is made of age, gender and noise of uneven deviations."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(N, D, generator=generator, dtype=torch.float64) * torch.linspace(0.2, 1.2, D)
    p_female = torch.rand(N, generator=generator, dtype=torch.float64)
    age = 50 - 20 * p_female + 10 * torch.randn(N, generator=generator, dtype=torch.float64)
    along_age, along_gender = torch.eye(D, dtype=torch.float64)[[0, 1]]
    w = noise + 0.1 * age[:, None] * along_age + 2 * p_female[:, None] * along_gender
    return {"w": w, "age": age, "p_female": p_female, "spread": age / 10}


def test_the_readout_of_gender_reads_gender(planted: dict[str, Tensor]) -> None:
    direction, bias = readout(planted["w"], planted["p_female"] - 0.5, 300)
    read = planted["w"] @ direction + bias
    assert torch.corrcoef(torch.stack([read, planted["p_female"]]))[0, 1] > 0.8
    assert abs(read.mean() - (planted["p_female"] - 0.5).mean()) < 1e-9


def test_towards_old_age_gender_is_held(planted: dict[str, Tensor]) -> None:
    w = planted["w"]
    direction, _ = readout(w, planted["p_female"] - 0.5, 300)
    year = torch.tensor([0.2, -0.1, 0.05, 0.0, 0.1, -0.2], dtype=torch.float64)
    step = older_year(year, w, direction)
    assert abs(direction @ step) < 1e-12 < 1e-4 < abs(direction @ year)
    assert year @ step / year.dot(year) == pytest.approx(1)  # one year by the ridge's reading
    precision = torch.cov(w.T).inverse()
    scaled = step * (year @ precision @ step) / (step @ precision @ step)  # nearest to `year` on its line
    for other in torch.randn(20, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64):
        rival = scaled + 0.1 * (other - (direction @ other) / (direction @ direction) * direction)
        assert (rival - year) @ precision @ (rival - year) >= (scaled - year) @ precision @ (scaled - year) - 1e-12


def test_towards_childhood_gender_is_held_too(planted: dict[str, Tensor]) -> None:
    w, age, p_female = (planted[key] for key in ("w", "age", "p_female"))
    year = torch.full((D,), 0.1, dtype=torch.float64)
    assert torch.allclose(younger_year(year, w, age, p_female, 0), year)
    mean_change = younger_year(year, w, age, p_female, 1)
    assert torch.nn.functional.cosine_similarity(mean_change, torch.eye(D, dtype=torch.float64)[0], dim=0) > 0.99


def test_spread_of_each_bracket_with_faces_enough(planted: dict[str, Tensor]) -> None:
    ages, limits = spreads_by_age(planted["age"], planted["spread"])
    assert (ages[1:] > ages[:-1]).all()
    inside = (planted["age"] >= 45) & (planted["age"] < 60)
    assert limits[ages == planted["age"][inside].mean()].item() == pytest.approx(
        planted["spread"][inside].quantile(0.9).item()
    )
    with pytest.raises(AdfdError, match="no 10 faces of like age among 5"):
        spreads_by_age(planted["age"][:5], planted["spread"][:5])


def test_the_linear_model_of_age_leaves_out_the_judges_errors() -> None:
    generator = torch.Generator().manual_seed(0)
    true = 40 + 10 * torch.randn(2000, generator=generator)
    noise = torch.randn(2000, 8, generator=generator) * torch.logspace(-3, 1, 8)
    features = torch.outer(true, torch.logspace(-3, 0, 8)) + noise + 5
    judged = true + 6 * torch.randn(2000, generator=generator)
    found = features_model("planted", {"features": features, "age": judged}, 10)
    assert found["age_features_of"] == "planted"
    told = features @ found["age_features"] + found["age_features_bias"]
    assert (told - true).std() < 3
    both = (told + judged) / 2
    assert (both - true).std() < 0.7 * (judged - true).std()
    explained = 1 - (told - judged).var() / judged.var()  # of the variance, 100 of 136 is the true age's
    assert found["age_features_r2"] == pytest.approx(explained.item(), abs=0.05)
    shifted = features_model("planted", {"features": 100 * features + 7, "age": judged}, 10)
    again = (100 * features + 7) @ shifted["age_features"] + shifted["age_features_bias"]
    assert torch.allclose(again, told, atol=0.05)  # standardised: scales do not matter


def test_the_path_bends_at_a_persons_own_age(planted: dict[str, Tensor]) -> None:
    year = torch.tensor([0.2, -0.1, 0.05, 0.0, 0.1, -0.2])
    known = Channels(generator="planted", age_year=year)
    with pytest.raises(AdfdError, match="no age path to bend"):
        fit(replace(known, age_year=None), planted, 300, 0.5)
    found = fit(known, planted, 300, 0.5)
    assert found.n_samples_nature == N
    empty = torch.zeros(2, 0)
    sources = Sources(("a", "b"), empty, torch.zeros(2, 3, D), torch.tensor([30.0, 30.0]), empty)
    moved = LatentAgePath(found)(sources, torch.tensor([20.0, 50.0]))
    assert torch.allclose(moved[0], -10 * found.younger_year.expand(3, D))
    assert torch.allclose(moved[1], 20 * found.older_year.expand(3, D))
    straight = LatentAgePath(known)(sources, torch.tensor([20.0, 50.0]))
    assert torch.allclose(straight, torch.tensor([-10.0, 20.0])[:, None, None] * year)
