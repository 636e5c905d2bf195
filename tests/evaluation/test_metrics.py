"""Metrics against independent computations; the bootstrap against what is planted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from adfd.basics.errors import AdfdError
from adfd.basics.harmonic import harmonic_score
from adfd.evaluation.bootstrap import Bootstrap
from adfd.evaluation.metrics import (
    AgeError,
    Diversity,
    Failures,
    GenderKept,
    HarmonicScore,
    IdSimilarity,
    PhotoMean,
    distances_to_others,
    sharpness,
)
from adfd.evaluation.quantities import QUANTITIES
from adfd.models.networks import Networks
from adfd.models.sources import Sources

PHOTOS = torch.tensor([0, 0, 0, 1, 2, 2])
AGES = torch.tensor([60.0, 70.0, 85.0, 71.0, 60.0, 66.0])
BOOTSTRAP = Bootstrap(n_resamples=2000, confidence=0.95, seed=0)


def by_photo(values: np.ndarray) -> np.ndarray:
    return np.array([values[PHOTOS.numpy() == photo].mean() for photo in range(3)])


def test_a_mean_weighs_every_photo_the_same_however_it_is_fed() -> None:
    errors = np.abs(AGES.numpy() - 70)
    whole, parts = AgeError(), AgeError()
    whole.update(PHOTOS, AGES, torch.full_like(AGES, 70))
    for i in range(6):
        parts.update(PHOTOS[i : i + 1], AGES[i : i + 1], torch.tensor([70.0]))
    assert whole.compute().item() == pytest.approx(by_photo(errors).mean())
    assert whole.compute().item() != pytest.approx(errors.mean())
    assert parts.compute() == whole.compute()
    assert whole.spread() == pytest.approx(errors.std(ddof=1))
    assert whole.per_photo.flatten().tolist() == pytest.approx(by_photo(errors).tolist())


def test_gender_similarity_and_failures() -> None:
    gender = GenderKept()
    gender.update(torch.tensor([0, 0, 1]), torch.tensor([0.9, 0.4, 0.1]), torch.tensor([0.6, 0.6, 0.3]))
    assert gender.compute().item() == pytest.approx((0.5 + 1) / 2)
    similarity = IdSimilarity()
    similarity.update(torch.tensor([0, 1]), torch.tensor([0.9, 0.5]))
    assert similarity.compute().item() == pytest.approx(0.7)
    failures = Failures()
    failures.update(PHOTOS, torch.tensor([0, 1, 0, 1, 0, 1]))
    assert failures.compute().item() == 3
    assert all(map(math.isnan, (failures.spread(), *failures.interval(BOOTSTRAP))))


def test_the_harmonic_score_is_of_the_means() -> None:
    def by_hand(error: float, similarity: float) -> float:
        a, b = max(0.0, 100 * (1 - error / 40)), min(100.0, max(0.0, 100 * similarity))
        return 0.0 if a + b == 0 else 2 * a * b / (a + b)

    for error, similarity in ((0, 1), (10, 0.5), (40, 0.9), (60, 0.9), (3, -0.2), (50, -1), (1, 1.5)):
        score = harmonic_score(torch.tensor(float(error)), torch.tensor(float(similarity)))
        assert score.item() == pytest.approx(by_hand(error, similarity), abs=1e-4)
    ages, similarities = torch.tensor([60.0, 70.0, 50.0]), torch.tensor([0.8, 0.6, 0.4])
    metric = HarmonicScore()
    metric.update(torch.tensor([0, 0, 1]), ages, torch.full((3,), 70.0), similarities)
    assert metric.compute().item() == pytest.approx(by_hand((5 + 20) / 2, (0.7 + 0.4) / 2))


def test_sharpness_is_the_laplacians_variance() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 48, 3)).astype(np.float64)
    luminance = pixels @ (0.299, 0.587, 0.114)
    response = ndimage.laplace(luminance)[1:-1, 1:-1]  # scipy's stencil; its edges are not ours
    img = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    expected = math.log10(1 + response.var())
    assert sharpness(img).item() == pytest.approx(expected, rel=1e-5)
    assert sharpness(torch.full((1, 3, 32, 32), 0.3)).item() == pytest.approx(0, abs=1e-6)
    blurred = torch.nn.functional.avg_pool2d(img, 3, 1, 1)
    assert sharpness(blurred) < sharpness(img)
    large = torch.nn.functional.interpolate(torch.rand(1, 3, 256, 256), 1024, mode="nearest")
    assert sharpness(large).item() == pytest.approx(sharpness(large[..., ::4, ::4]).item(), rel=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 99])
def test_distances_to_the_others_average_to_the_mean_pairwise_distance(
    tiny: Networks, sources: Sources, batch_size: int
) -> None:
    img = sources.img
    distances = distances_to_others(tiny.perceptual, img, batch_size)
    features = [tiny.perceptual.features(img[i : i + 1]) for i in range(3)]
    pairs = {(i, j): tiny.perceptual.distance(features[i], features[j]).item() for i in range(3) for j in range(i)}
    assert distances.mean().item() == pytest.approx(np.mean(list(pairs.values())), rel=1e-5)
    assert distances[0].item() == pytest.approx((pairs[1, 0] + pairs[2, 0]) / 2, rel=1e-5)
    metric = Diversity()
    metric.update(torch.zeros(3), distances)
    assert metric.compute().item() == pytest.approx(np.mean(list(pairs.values())), rel=1e-5)


def test_the_bootstrap_draws_photos_not_outputs() -> None:
    """Outputs of a photo are the same here: that there are a hundred of each makes nothing surer."""
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    few, many = PhotoMean(), PhotoMean()
    few.update(torch.arange(5), values)
    many.update(torch.arange(5).repeat_interleave(100), values.repeat_interleave(100))
    assert many.interval(BOOTSTRAP) == pytest.approx(few.interval(BOOTSTRAP))
    low, high = many.interval(BOOTSTRAP)
    rng = np.random.default_rng(5)
    means = [rng.choice(values.numpy(), 5).mean() for _ in range(4000)]
    assert (low, high) == pytest.approx(tuple(np.quantile(means, (0.025, 0.975))), abs=0.1)


def test_the_interval_covers_a_planted_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    bootstrap = Bootstrap(n_resamples=400, confidence=0.9, seed=0)
    covered = 0
    for _ in range(300):
        low, high = bootstrap.interval(rng.normal(3.0, 2.0, (40, 1)), lambda means: means[:, 0])
        covered += low <= 3.0 <= high
    assert 0.84 < covered / 300 < 0.95  # 0.9 less the small-sample narrowness, give or take 3 standard errors


def test_the_interval_is_the_seeds_and_unknown_of_one_photo() -> None:
    values = np.random.default_rng(2).normal(size=(12, 1))

    def interval(seed: int, confidence: float = 0.95) -> tuple[float, float]:
        return Bootstrap(500, confidence, seed).interval(values, lambda means: means[:, 0])

    assert interval(0) == interval(0)
    assert interval(0) != interval(1)
    assert interval(0, 0.5)[0] > interval(0, 0.95)[0]
    alone = PhotoMean()
    alone.update(torch.zeros(4), torch.rand(4))
    assert all(map(math.isnan, alone.interval(BOOTSTRAP)))
    assert alone.spread() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((10, 0.95, 0), "bootstrap.n_resamples must be at least 100, got 10"),
        ((1000, 95.0, 0), "bootstrap.confidence must lie between 0 and 1, got 95"),
        ((1000, 0.95, -1), "bootstrap.seed must be at least 0, got -1"),
    ],
)
def test_impossible_settings(settings: tuple, message: str) -> None:
    with pytest.raises(AdfdError, match=message):
        Bootstrap(*settings)


def test_every_quantity_can_be_fed_what_it_reads() -> None:
    for name, quantity in QUANTITIES.items():
        metric = quantity.metric()
        columns = [torch.full((2, 512) if column == "vgg16" else (2,), 20.5) for column in quantity.reads]
        metric.update(torch.tensor([0, 1]), *columns)
        assert math.isfinite(metric.compute().item()), name
        assert quantity.better in ("lower", "higher", "")
        if metric.higher_is_better is not None:
            assert quantity.better == ("higher" if metric.higher_is_better else "lower"), name
