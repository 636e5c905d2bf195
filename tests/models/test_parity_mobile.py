"""The embedded stack against golden data made with OpenVINO, dlib and onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from adfd.models import load_mobile
from adfd.models.dlib_judges import RGB_MEAN
from adfd.models.networks import Networks

pytestmark = pytest.mark.thorough
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def mobile() -> Networks:
    return load_mobile()


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "embedded.npz"))


def pooled(img: torch.Tensor) -> np.ndarray:
    return F.adaptive_avg_pool2d(img, 64)[0].numpy()


@pytest.mark.parametrize("seed", [1, 2])
@torch.inference_mode()
def test_generator_and_judges(mobile: Networks, golden: dict[str, np.ndarray], seed: int) -> None:
    w = mobile.mapping(torch.from_numpy(np.random.RandomState(seed).randn(1, 512)).float())
    np.testing.assert_allclose(w[0], golden[f"seed{seed}_w"], atol=1e-5)
    s = mobile.affine(w)
    np.testing.assert_allclose(s[0], golden[f"seed{seed}_s"], atol=1e-4, rtol=1e-4)
    img = mobile.synthesis(s)
    assert img.shape == (1, 3, 1024, 1024)
    np.testing.assert_allclose(pooled(img), golden[f"seed{seed}_img64"], atol=1e-4)
    assert mobile.age(img).item() == pytest.approx(golden[f"seed{seed}_age"].item(), abs=1e-3)
    np.testing.assert_allclose(mobile.embed(img)[0], golden[f"seed{seed}_embedding"], atol=1e-5)

    channel = torch.cat([torch.arange(width) for width in mobile.space.widths])
    offset = mobile.synthesis(s + 0.3 * torch.sin(0.7 * channel))
    np.testing.assert_allclose(pooled(offset), golden[f"seed{seed}_img64_offset"], atol=1e-4)


@torch.inference_mode()
def test_judges_on_face_chips(mobile: Networks) -> None:
    golden = np.load(GOLDEN / "dlib_nets.npz")

    def normalised(name: str) -> torch.Tensor:
        chip = torch.from_numpy(golden[name])[None] * 255
        return (chip - torch.tensor(RGB_MEAN).view(1, 3, 1, 1)) / 256

    embedding = mobile.embed.head(mobile.embed.net(normalised("chip150")))[0]
    np.testing.assert_allclose(embedding, golden["embedding"], atol=1e-6)
    probabilities = mobile.age.head(mobile.age.net(normalised("chip64"))).softmax(dim=1)[0]
    np.testing.assert_allclose(probabilities, golden["age_probs"], atol=1e-5)
    assert (probabilities @ mobile.age.ages).item() == pytest.approx(golden["age"].item(), abs=1e-4)


@torch.inference_mode()
def test_w_plus_of_equal_rows_is_w(mobile: Networks) -> None:
    w = mobile.generator.w_avg[None]
    np.testing.assert_allclose(mobile.affine(w[:, None].repeat(1, 23, 1)), mobile.affine(w), atol=1e-5)


@torch.inference_mode()
def test_batch_and_single_renderings_agree(tiny: Networks) -> None:
    s = tiny.affine(tiny.mapping(torch.randn(5, 32, generator=torch.Generator().manual_seed(0))))
    together = tiny.synthesis(s)
    alone = torch.cat([tiny.synthesis(row[None]) for row in s])
    assert torch.allclose(together, alone, atol=1e-5)


def test_gender_reads_the_golden_persons(mobile: Networks) -> None:
    """Seeds 1 and 2 are men to anyone who looks (there is no golden number for gender)."""
    with torch.inference_mode():
        for seed in (1, 2):
            w = mobile.mapping(torch.from_numpy(np.random.RandomState(seed).randn(1, 512)).float())
            female, male = mobile.gender(mobile.synthesis(mobile.affine(w))).exp()[0]
            assert male > 0.9
            assert female + male == pytest.approx(1)


def test_codes_keep_full_precision_under_autocast(tiny: Networks) -> None:
    w_plus = torch.randn(2, tiny.space.n_w_rows, 32)
    with torch.autocast("cpu", torch.bfloat16):
        w, s = tiny.mapping(torch.randn(2, 32)), tiny.affine(w_plus)
    assert w.dtype == s.dtype == torch.float32
    assert torch.equal(s, tiny.affine(w_plus))


def test_inverse_haar_against_the_definition() -> None:
    from adfd.models.mobilestylegan import inverse_haar

    x = torch.randn(1, 8, 3, 3)
    out = inverse_haar(x)
    for q in range(2):
        low, v, h, d = x[0, q], *x[0, 2 + 3 * q : 5 + 3 * q]
        assert torch.allclose(out[0, q, 0::2, 0::2], (low + v + h + d) / 2, atol=1e-6)
        assert torch.allclose(out[0, q, 0::2, 1::2], (low + v - h - d) / 2, atol=1e-6)
        assert torch.allclose(out[0, q, 1::2, 0::2], (low - v + h - d) / 2, atol=1e-6)
        assert torch.allclose(out[0, q, 1::2, 1::2], (low - v - h + d) / 2, atol=1e-6)
