from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adfd.faces.invert import Inversion, invert, share
from adfd.models.networks import Networks
from adfd.models.tiny import load_tiny

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


@pytest.fixture
def drafted() -> Networks:
    """The tiny stack with a draft that paints everything grey."""

    class Grey(torch.nn.Module):
        trunk = 8

        def __init__(self) -> None:
            super().__init__()
            self.drawn = 0

        def forward(self, features: Tensor, s: Tensor) -> Tensor:
            self.drawn += 1
            return features.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1).repeat(1, 1, 4, 4)

    networks = load_tiny()
    networks.draft = Grey()
    return networks


def test_the_draft_draws_all_steps_but_the_last(tiny: Networks, drafted: Networks, img: Tensor) -> None:
    losses: list[Tensor] = []
    result = run(drafted, img, full_steps=4, on_step=lambda loss, id_distance: losses.append(loss))
    assert drafted.draft.drawn == 26
    assert len(losses) == 31
    assert torch.equal(result.loss, torch.stack(losses[26:]).amin(dim=0))
    drawn = tiny.render(tiny.affine(result.w_plus))
    torch.testing.assert_close(
        result.pixel_error, (drawn - torch.nn.functional.avg_pool2d(img, 8)).square().mean(dim=(1, 2, 3))
    )


def test_without_a_draft_the_generator_draws_all_steps(tiny: Networks, img: Tensor, inversion: Inversion) -> None:
    assert torch.equal(run(tiny, img, full_steps=4).w_plus, inversion.w_plus)


def test_with_full_steps_alone_the_draft_is_not_asked(drafted: Networks, img: Tensor, inversion: Inversion) -> None:
    for full_steps in (None, 30, 99):
        assert torch.equal(run(drafted, img, full_steps=full_steps).w_plus, inversion.w_plus)
    assert drafted.draft.drawn == 0


def test_half_of_the_cosine_is_the_drafts() -> None:
    assert [share(step, 10, 0) for step in (0, 5, 9)] == [0, 0.5, 0.9]
    assert [share(step, 10, 8) for step in (0, 4, 8, 9)] == [0, 0.25, 0.5, 0.75]


def test_no_network_gets_a_gradient(tiny: Networks, inversion: Inversion) -> None:
    assert all(weight.grad is None and not weight.requires_grad for weight in tiny.parameters())
