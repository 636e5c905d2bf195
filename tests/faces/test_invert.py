from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adfd.faces.invert import Inversion, invert
from adfd.models.networks import Networks

WEIGHTS = {"pixel": 1.0, "perceptual": 1.0, "id": 1.0, "pull": 0.01}


def run(networks: Networks, img: Tensor, **changes: Any) -> Inversion:
    return invert(networks, img, **{"steps": 30, "lr": 0.05, **WEIGHTS, **changes})


@pytest.fixture(scope="module")
def w(tiny: Networks) -> Tensor:
    return tiny.mapping(torch.randn(3, tiny.generator.w_dim, generator=torch.Generator().manual_seed(1)))


@pytest.fixture(scope="module")
def img(tiny: Networks, w: Tensor) -> Tensor:
    """Faces that the generator can draw, as crops of 256 px."""
    return torch.nn.functional.interpolate(tiny.synthesis(tiny.affine(w)), (256, 256))


@pytest.fixture(scope="module")
def inversion(tiny: Networks, img: Tensor) -> Inversion:
    return run(tiny, img)


def test_it_comes_closer_than_the_mean_face(tiny: Networks, img: Tensor, w: Tensor, inversion: Inversion) -> None:
    start = run(tiny, img, steps=0)
    assert torch.equal(start.w_plus, tiny.generator.w_avg.expand_as(start.w_plus))
    assert (inversion.loss < 0.5 * start.loss).all()
    assert (inversion.id_distance < 0.5 * start.id_distance).all()
    assert (inversion.perceptual < start.perceptual).all()
    assert inversion.w_plus.shape == (3, tiny.space.n_w_rows, tiny.generator.w_dim)
    assert not inversion.w_plus.requires_grad


def test_readings_are_those_of_the_latents(tiny: Networks, img: Tensor, inversion: Inversion) -> None:
    target = torch.nn.functional.avg_pool2d(img, 8)
    drawn = tiny.render(tiny.affine(inversion.w_plus))
    distance = (tiny.embed(drawn) - tiny.embed(target)).norm(dim=1)
    torch.testing.assert_close(inversion.id_distance, distance, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(inversion.id_similarity, 1 - distance.square() / 2, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(inversion.pixel_error, (drawn - target).square().mean(dim=(1, 2, 3)))


def test_batch_size_does_not_matter(tiny: Networks, img: Tensor, inversion: Inversion) -> None:
    alone = torch.cat([run(tiny, one).w_plus for one in img.split(1)])
    torch.testing.assert_close(alone, inversion.w_plus, rtol=1e-3, atol=1e-3)


def test_it_is_deterministic(tiny: Networks, img: Tensor, inversion: Inversion) -> None:
    torch.manual_seed(7)
    assert torch.equal(run(tiny, img).w_plus, inversion.w_plus)


def test_a_sample_that_is_not_a_number_fails_alone(tiny: Networks, img: Tensor, inversion: Inversion) -> None:
    spoilt = img.clone()
    spoilt[1, 0, 0, 0] = torch.nan
    result = run(tiny, spoilt)
    assert result.failed.tolist() == [False, True, False]
    assert not inversion.failed.any()
    rest = torch.tensor([0, 2])
    torch.testing.assert_close(result.w_plus[rest], inversion.w_plus[rest], rtol=1e-3, atol=1e-3)
    assert result.id_distance[1].isnan()


def test_each_sample_keeps_its_best_step(tiny: Networks, img: Tensor) -> None:
    losses: list[Tensor] = []
    wild = run(tiny, img, lr=2.0, on_step=lambda loss, id_distance: losses.append(loss))
    assert len(losses) == 31
    history = torch.stack(losses)
    assert torch.equal(wild.loss, history.amin(dim=0))
    assert (history[-1] > wild.loss).any()


def test_pull_keeps_latents_near_the_mean(tiny: Networks, img: Tensor, inversion: Inversion) -> None:
    pulled = run(tiny, img, pull=100.0)
    w_avg = tiny.generator.w_avg
    assert (pulled.w_plus - w_avg).norm() < 0.5 * (inversion.w_plus - w_avg).norm()


def test_no_network_gets_a_gradient(tiny: Networks, inversion: Inversion) -> None:
    assert all(weight.grad is None and not weight.requires_grad for weight in tiny.parameters())
