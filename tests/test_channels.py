from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adfd.analysis import correlation_analysis
from adfd.channels import Channels, age_coefficients, fit_age_path, id_coefficients, random_pairs
from adfd.errors import AdfdError
from adfd.models import load_mobile, load_tiny
from adfd.models.mobile import SHIPPED_CHANNELS
from adfd.models.networks import Networks


def test_age_coefficients_are_pearsons() -> None:
    s, age = torch.randn(40, 6), torch.randn(40)
    s[:, 3] = age * 2 + 1
    s[:, 4] = 7.0  # constant
    found = age_coefficients(s, age)
    for c in (0, 1, 2, 5):
        assert found[c].item() == pytest.approx(abs(np.corrcoef(s[:, c], age)[0, 1]), abs=1e-6)
    assert found[3].item() == pytest.approx(1, abs=1e-6)
    assert found[4] == 0


def test_id_coefficients_do_not_depend_on_the_chunk_and_are_pearsons() -> None:
    s, embedding = torch.randn(30, 5), torch.randn(30, 4)
    pairs = random_pairs(30, 200, seed=0)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    found = id_coefficients(s, embedding, pairs, chunk=7)
    a, b = pairs.T
    distance = (embedding[a] - embedding[b]).norm(dim=1)
    for c in range(5):
        expected = abs(np.corrcoef((s[a, c] - s[b, c]).abs(), distance)[0, 1])
        assert found[c].item() == pytest.approx(expected, abs=1e-6)


def test_age_path_finds_a_linear_age() -> None:
    w = torch.randn(4000, 8)
    direction = torch.tensor([3.0, 0, 0, 1, 0, 0, 0, 0])
    year, r2 = fit_age_path(w, 30 + w @ direction, ridge=1e-3)
    assert r2 == pytest.approx(1, abs=1e-4)
    assert torch.allclose(year, direction / direction.dot(direction), atol=1e-4)


def test_weights_are_min_max_of_age_and_not_identity(tiny: Networks) -> None:
    m, channels, conv = tiny.channel_weights, tiny.channels, tiny.conv_mask
    assert channels is not None
    assert m[conv].min() == 0
    assert m[conv].max() == 1
    assert (m[~conv] == 0).all()
    score = channels.coef_age + 1 - channels.coef_id
    assert m[conv].argmax() == score[conv].argmax()


def test_shipped_tiny_file_is_what_the_analysis_makes() -> None:
    made = correlation_analysis(load_tiny(None), n_samples=2000, n_pairs=100000, psi=0.9, seed=0, batch_size=100)
    shipped = load_tiny().channels
    for field in fields(Channels):
        a, b = getattr(made, field.name), getattr(shipped, field.name)
        assert torch.allclose(a, b, atol=1e-4) if isinstance(a, torch.Tensor) else a == pytest.approx(b, abs=1e-3)


def test_shipped_mobile_file() -> None:
    channels = load_mobile().channels
    assert channels is not None
    assert channels.n_samples >= 2000
    assert channels.age_r2 > 0.6
    assert channels.coef_age.max() > 0.7


def test_files_of_others_are_refused(tmp_path: Path, tiny: Networks) -> None:
    assert tiny.channels is not None
    with pytest.raises(AdfdError, match="made for generator mobilestylegan-ffhq-1024, not tiny-0"):
        Channels.load(SHIPPED_CHANNELS, "tiny-0")
    with pytest.raises(AdfdError, match="does not exist"):
        Channels.load(tmp_path / "none.npz", "tiny-0")
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    with pytest.raises(AdfdError, match=r"bad\.npz is not readable"):
        Channels.load(tmp_path / "bad.npz", "tiny-0")
    np.savez(tmp_path / "old.npz", schema_version=np.asarray(0))
    with pytest.raises(AdfdError, match="schema 0"):
        Channels.load(tmp_path / "old.npz", "tiny-0")
    replace(tiny.channels, seed=5).save(tmp_path / "ours.npz")
    assert Channels.load(tmp_path / "ours.npz", "tiny-0").seed == 5


def test_analysis_does_not_depend_on_the_batch() -> None:
    networks = load_tiny(None)
    runs = [
        correlation_analysis(networks, n_samples=40, n_pairs=50, psi=0.9, seed=3, batch_size=batch) for batch in (7, 40)
    ]
    assert torch.allclose(runs[0].coef_age, runs[1].coef_age, atol=1e-4)
    assert torch.allclose(runs[0].coef_id, runs[1].coef_id, atol=1e-4)


def test_analysis_needs_only_a_generator_and_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = load_tiny(None)
    networks.generator.name = "another"
    made = correlation_analysis(networks, n_samples=10, n_pairs=10, psi=0.9, seed=0, batch_size=10)
    assert made.generator == "another"


def test_a_folder_stands_for_the_generators_file(tmp_path: Path) -> None:
    assert Channels.load(SHIPPED_CHANNELS.parent, "tiny-0").generator == "tiny-0"
    with pytest.raises(AdfdError, match=r"channels file .*absent/tiny-0\.npz does not exist; make one with"):
        Channels.load(tmp_path / "absent", "tiny-0")
