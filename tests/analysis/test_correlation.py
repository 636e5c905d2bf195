"""Correlation analysis: the statistics against independent computations, the null, and a planted truth."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest, pearsonr, spearmanr

from adfd.analysis import correlation
from adfd.analysis.correlation import Correlation, p_values, random_pairs
from adfd.analysis.moments import Moments, Regression
from adfd.analysis.random_faces import latents
from adfd.analysis.shards import Shards
from adfd.models import load_mobile, load_tiny
from adfd.models.networks import Networks
from adfd.stylespace.statistics import Channels
from tests.planted import AGE, IDENTITY, planted

SMALL = Correlation(n_samples=600, n_pairs=2000, n_permutations=20, psi=0.9, batch_size=100)


def analysed(networks: Networks, settings: Correlation, folder: Path, seed: int = 0) -> Channels:
    return settings(networks, seed, Shards(folder, settings.key))


@pytest.mark.parametrize("seed", range(5))
def test_planted_truth_is_found_and_nothing_else(tmp_path: Path, seed: int) -> None:
    settings = replace(SMALL, n_samples=1000, n_pairs=20000, n_permutations=100)
    found = analysed(planted(), settings, tmp_path, seed)
    assert found.significant("age", 0.01).nonzero().flatten().tolist() == [AGE]
    assert found.significant("id", 0.01).nonzero().flatten().tolist() == [IDENTITY]
    assert found.r_age is not None
    assert found.r_age[AGE] == pytest.approx(1, abs=1e-6)


def test_without_truth_nothing_is_found(tmp_path: Path) -> None:
    networks = planted()
    networks.age.forward = lambda img: torch.rand(len(img))  # type: ignore[method-assign]
    found = analysed(networks, replace(SMALL, n_permutations=200), tmp_path)
    assert found.p_age is not None
    assert not found.significant("age", 0.01).any()
    assert kstest(found.p_age.numpy(), "uniform").pvalue > 0.01


def test_coefficients_are_pearsons(tmp_path: Path) -> None:
    networks = load_tiny(None)
    found = analysed(networks, SMALL, tmp_path)
    parts = [w for _, w in latents(networks, SMALL.n_samples, SMALL.psi, 0)]
    s = networks.affine(torch.cat(parts))
    with torch.inference_mode():
        age = networks.age(networks.synthesis(s))
    assert found.r_age is not None
    assert found.coef_age is not None
    assert found.s_std is not None
    for c in range(0, s.shape[1], 13):
        assert found.r_age[c].item() == pytest.approx(pearsonr(s[:, c], age).statistic, abs=1e-4)
    assert torch.equal(found.coef_age, found.r_age.abs())
    assert torch.allclose(found.s_std, s.std(dim=0), rtol=1e-4)
    number = np.arange(SMALL.n_samples)
    halves = [[abs(pearsonr(s[number % 2 == h, c], age[number % 2 == h]).statistic) for c in range(90)] for h in (0, 1)]
    assert found.stability_age is not None
    assert found.stability_age > 0.3
    conv = networks.space.conv_mask
    assert conv[:88].all()
    assert spearmanr(*halves).statistic == pytest.approx(found.stability_age, abs=0.15)


def test_moments_add_up_to_numpys_correlation() -> None:
    x, y = torch.randn(50, 4) + 30, torch.randn(50, 2)
    x[:, 3] = 7.0
    sums = Moments(x[:20], y[:20])
    sums += Moments(x[20:], y[20:])
    r = sums.correlation()
    for c in range(3):
        for k in range(2):
            assert r[c, k].item() == pytest.approx(np.corrcoef(x[:, c].double(), y[:, k].double())[0, 1], abs=1e-9)
    assert (r[3] == 0).all()
    assert torch.allclose(sums.std, x.double().std(dim=0))


def test_identity_coefficients_are_pearsons_over_the_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = load_tiny(None)
    taken = []

    def watched(n: int, n_pairs: int, rng: torch.Generator) -> torch.Tensor:
        pairs = random_pairs(n, n_pairs, rng)
        taken.append(pairs)
        return pairs

    monkeypatch.setattr(correlation, "random_pairs", watched)
    settings = replace(SMALL, n_samples=100, n_pairs=300)
    found = analysed(networks, settings, tmp_path)
    s = networks.affine(next(latents(networks, 100, settings.psi, 0))[1])
    with torch.inference_mode():
        e = networks.embed(networks.synthesis(s))
    x, y = [], []
    for half, pairs in enumerate(taken):
        i, j = (2 * pairs + half).T
        assert (i != j).all()
        x.append((s[i] - s[j]).abs())
        y.append((e[i] - e[j]).norm(dim=1))
    assert found.coef_id is not None
    assert found.n_pairs == len(torch.cat(y)) == 300
    for c in range(0, s.shape[1], 17):
        expected = abs(pearsonr(torch.cat(x)[:, c], torch.cat(y)).statistic)
        assert found.coef_id[c].item() == pytest.approx(expected, abs=1e-4)


def test_age_path_finds_a_linear_age_and_its_share_of_the_variance() -> None:
    w, noise = torch.randn(4000, 8), torch.randn(4000)
    direction = torch.tensor([3.0, 0, 0, 1, 0, 0, 0, 0])
    exact, noisy = Regression(), Regression()
    for start in range(0, 4000, 500):
        rows = slice(start, start + 500)
        held_out = start >= 3000
        exact.add(w[rows], 30 + w[rows] @ direction, held_out)
        noisy.add(w[rows], 30 + w[rows] @ direction + noise[rows] * 10**0.5, held_out)
    found, r2 = exact.fit(1e-3)
    assert r2 == pytest.approx(1, abs=1e-4)
    assert torch.allclose(found.float(), direction, atol=1e-3)
    assert noisy.fit(1e-3)[1] == pytest.approx(0.5, abs=0.08)


def test_p_values_count_the_null() -> None:
    null = torch.arange(1, 100).float()[:, None]  # 99 values
    assert p_values(torch.tensor([0.5, 50.0, 99.0, 200.0]), null).tolist() == pytest.approx([1.0, 0.51, 0.02, 0.01])


def test_more_faces_begin_with_the_same(tiny: Networks) -> None:
    few = torch.cat([w for _, w in latents(tiny, 300, 0.9, 4)])
    many = torch.cat([w for _, w in latents(tiny, 700, 0.9, 4)])
    assert torch.equal(few, many[:300])
    assert not torch.equal(few, torch.cat([w for _, w in latents(tiny, 300, 0.9, 5)]))


def test_the_batch_does_not_show(tmp_path: Path) -> None:
    runs = [analysed(load_tiny(None), replace(SMALL, batch_size=n), tmp_path / str(n)) for n in (7, 100)]
    for field in fields(Channels):
        a, b = (getattr(run, field.name) for run in runs)
        same = torch.allclose(a, b, atol=1e-3) if isinstance(a, torch.Tensor) else a == pytest.approx(b, abs=1e-3)
        assert same, field.name


def test_a_generator_and_judges_suffice(tmp_path: Path) -> None:
    networks = load_tiny(None)
    networks.generator.name = "another"
    smallest = Correlation(n_samples=10, n_pairs=10, n_permutations=1, psi=1.0, batch_size=3)
    assert analysed(networks, smallest, tmp_path).generator == "another"


def test_shipped_tiny_file_is_what_the_analysis_makes(tmp_path: Path) -> None:
    settings = Correlation(n_samples=2000, n_pairs=100000, n_permutations=50, psi=0.9, batch_size=100)
    made, shipped = analysed(load_tiny(None), settings, tmp_path), load_tiny().channels
    assert shipped is not None
    for field in fields(Channels):
        a, b = getattr(made, field.name), getattr(shipped, field.name)
        if isinstance(a, torch.Tensor):
            assert torch.allclose(a, b, atol=1e-3), field.name
        elif a is not None:
            assert a == pytest.approx(b, abs=1e-3), field.name


def test_shipped_mobile_file() -> None:
    channels = load_mobile().channels
    assert channels is not None
    assert channels.stability_age is not None
    assert channels.age_r2 is not None
    assert channels.coef_age is not None
    assert channels.stability_age > 0.95
    assert channels.age_r2 > 0.6
    assert channels.coef_age.max() > 0.7
