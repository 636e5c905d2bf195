"""Pooled pictures without the large one."""

from __future__ import annotations

import pytest
import torch

from adfd.basics.pooling import pool
from adfd.models import load_mobile
from adfd.models.mobilestylegan import MobileStyleGAN
from adfd.models.networks import Networks
from adfd.models.tiny import load_tiny
from tests.planted import planted


@pytest.fixture
def codes(tiny: Networks) -> torch.Tensor:
    w = tiny.mapping(torch.randn(3, 32, generator=torch.Generator().manual_seed(0)))
    return tiny.affine(w).requires_grad_()


@pytest.mark.parametrize("size", [16, 8, 4, 12, 32, 256])
def test_it_is_the_pooled_picture_with_its_gradient(tiny: Networks, codes: torch.Tensor, size: int) -> None:
    plain, direct = pool(tiny.synthesis(codes), size), tiny.synthesis_pooled(codes, size)
    assert direct.shape == plain.shape
    assert torch.allclose(direct, plain, atol=1e-6)
    pattern = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1))
    (expected,) = torch.autograd.grad((plain * pattern).sum(), codes)
    (gradient,) = torch.autograd.grad((direct * pattern).sum(), codes)
    assert torch.allclose(gradient, expected, atol=1e-5 * expected.abs().max())


@pytest.mark.parametrize("low_pass", [True, False])
def test_the_large_picture_is_drawn_only_on_request(
    codes: torch.Tensor, monkeypatch: pytest.MonkeyPatch, low_pass: bool
) -> None:
    drawn: list[int] = []
    networks = load_tiny(low_pass=low_pass)
    synthesis = networks.generator.synthesis
    monkeypatch.setattr(networks.generator, "synthesis", lambda s: drawn.append(len(s)) or synthesis(s))
    networks.synthesis_pooled(codes, 8)
    assert drawn == ([] if low_pass else [3])


def test_a_generator_without_it_falls_back_on_pooling() -> None:
    networks = planted()
    s = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(networks.synthesis_pooled(s, 16), pool(networks.synthesis(s), 16))


def test_ages_read_on_the_full_picture_take_the_plain_path(codes: torch.Tensor) -> None:
    class Width(torch.nn.Module):
        def forward(self, img: torch.Tensor) -> torch.Tensor:
            return img.new_full((len(img),), float(img.shape[-1]))

    networks = load_tiny()
    with torch.random.fork_rng():
        networks.generator = MobileStyleGAN("wide", channels=(8,) * 7, w_dim=8, n_mapping_layers=1)
    networks.age = Width()
    s = networks.affine(torch.randn(1, 8))
    for kind, width in (("full", 512), ("pooled", 256)):
        pooled, ages = networks.render_aged(s, 1, kind)
        assert ages.tolist() == [width]
        assert torch.allclose(pooled, networks.render(s), atol=1e-5)


@pytest.mark.thorough
def test_it_is_the_pooled_picture_at_full_size() -> None:
    mobile = load_mobile(channels=None)
    with torch.inference_mode():
        s = mobile.affine(mobile.mapping(torch.randn(1, 512, generator=torch.Generator().manual_seed(3))))
        plain, direct = pool(mobile.synthesis(s)), mobile.synthesis_pooled(s)
    assert direct.shape == (1, 3, 256, 256)
    assert torch.allclose(direct, plain, atol=1e-6)
