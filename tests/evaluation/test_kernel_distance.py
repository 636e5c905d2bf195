"""KID against torchmetrics' own and its definition; its standard error against the spread of sets drawn again."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from adfd.basics.errors import AdfdError
from adfd.evaluation.bootstrap import Bootstrap
from adfd.evaluation.jobs import estimates
from adfd.evaluation.kernel_distance import SHOWN, KernelDistance, kernel, left_out, packed, unpacked
from adfd.evaluation.natural import Natural

D = 12
BOOTSTRAP = Bootstrap(n_resamples=100, confidence=0.95, seed=0)


def faces(n: int, seed: int, shift: float = 0.0, age: float = 70.0) -> Natural:
    features = np.random.default_rng(seed).normal(shift, 1, (n, D))
    return Natural(*[np.full(n, age)] * 3, features, seed, 0.8)


def fed(reference: Natural, photos: list[int], features: np.ndarray, age: float = 70.0) -> KernelDistance:
    metric = KernelDistance(lambda: reference)
    metric.update(torch.tensor(photos), torch.from_numpy(features), torch.full((len(photos),), age))
    return metric


def test_of_one_output_a_photo_it_is_the_published_distance() -> None:
    reference, outputs = faces(30, 0), faces(30, 1, 0.3)
    scale = np.sqrt((reference.features**2).mean())
    x, y = outputs.features / scale, reference.features / scale
    theirs = poly_mmd(torch.from_numpy(y), torch.from_numpy(x))
    assert fed(reference, list(range(30)), outputs.features).compute().item() == pytest.approx(SHOWN * theirs.item())


def test_pairs_of_one_photo_are_left_out() -> None:
    x, y, photo = faces(6, 1).features, faces(25, 0).features, np.array([0, 0, 1, 1, 1, 2])
    pairs = [kernel(x[[i]], x[[j]]) for i, j in product(range(6), repeat=2) if photo[i] != photo[j]]
    among = [kernel(y[[i]], y[[j]]) for i, j in product(range(25), repeat=2) if i != j]
    whole, without, of_face = left_out(photo, x, y)
    assert whole == pytest.approx(np.mean(pairs) + np.mean(among) - 2 * kernel(x, y).mean())
    for p in (0, 1, 2):
        assert without[p] == pytest.approx(left_out(photo[photo != p], x[photo != p], y)[0])
    assert of_face[3] == pytest.approx(left_out(photo, x, np.delete(y, 3, axis=0))[0])


def test_it_is_nought_of_natural_sets_and_its_error_is_their_spread() -> None:
    made = [fed(faces(40, seed), list(range(24)), faces(24, 1000 + seed).features).estimate() for seed in range(200)]
    values, errors = np.array(made).T
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(200)
    assert errors.mean() == pytest.approx(values.std(), rel=0.35)
    far = fed(faces(40, 0), list(range(24)), faces(24, 1, 0.5).features)
    low, high = far.interval(BOOTSTRAP)
    assert 0 < low < far.compute() < high
    assert high - low == pytest.approx(2 * 1.96 * far.spread(), rel=1e-3)


def test_it_is_of_an_age_and_unknown_where_there_are_few() -> None:
    outputs = faces(8, 1).features
    assert math.isnan(fed(faces(40, 0, age=20), list(range(8)), outputs, age=70).compute())
    assert math.isnan(fed(faces(19, 0), list(range(8)), outputs).compute())
    assert math.isnan(fed(faces(40, 0), [0] * 8, outputs).compute())
    both = Natural(
        *[np.repeat([20.0, 70.0], 40)] * 3,
        np.concatenate([faces(40, 0).features, faces(40, 2, 3.0).features]), 0, 0.8,
    )  # fmt: skip
    metric = KernelDistance(lambda: both)
    for age in (20.0, 70.0):
        metric.update(torch.arange(8), torch.from_numpy(outputs), torch.full((8,), age))
    one = [fed(both, list(range(8)), outputs, age).compute().item() for age in (20.0, 70.0)]
    assert metric.compute().item() == pytest.approx(np.mean(one))
    metric.reset()
    assert not metric.values


def test_features_are_kept_as_text() -> None:
    features = torch.rand(512)
    np.testing.assert_allclose(unpacked(packed(features)), features, atol=1e-3)
    with pytest.raises(AdfdError, match="features of a measured picture are damaged"):
        unpacked("not base64!")
    rows = [{"photo": str(i), "target_age": 20.0, "status": "ok", "vgg16": packed(torch.rand(512))} for i in range(8)]
    assert estimates(rows, BOOTSTRAP, ["kid"])["kid"].n_photos == 8
