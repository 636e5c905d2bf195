from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from adfd.basics.batching import full_size
from adfd.basics.errors import AdfdError
from adfd.methods.anchors import Anchors
from adfd.methods.objective import LossWeights, identity_weight, objective
from adfd.methods.refine import Refinement, Sample, refine
from adfd.models.networks import Networks
from adfd.models.tiny import load_tiny

LOSS = LossWeights(5, 0.1, 0.01, 0.01, 0, "anchor", True)
REFINEMENT = Refinement(lr=0.02, max_steps=12, draft_steps=0, patience=3, min_delta=1e-4, batch_size=1, keep="best")


def starts(networks: Networks, anchors: Anchors) -> list[Sample]:
    rng = torch.Generator().manual_seed(0)
    noise = 0.5 * torch.randn(2 * len(anchors), networks.space.n_channels, generator=rng) * networks.conv_mask
    return [Sample(i // 2, i % 2, anchors.s[i // 2] + noise[i]) for i in range(2 * len(anchors))]


def finish(networks: Networks, anchors: Anchors, samples: list[Sample], **changes: object) -> dict:
    done = refine(networks, anchors, samples, LOSS, replace(REFINEMENT, **changes))
    return {(sample.row, sample.output): sample for sample in done}


def test_terms_against_their_definitions(tiny: Networks, anchors: Anchors) -> None:
    constants = anchors.constants([0, 1, 2])
    img = (constants.img + 0.1).requires_grad_()
    previous = torch.tensor([math.nan, 20.0, 60.0])
    losses = objective(tiny, img, constants, replace(LOSS, gender=0.5), previous)
    age = tiny.age(img)
    assert torch.allclose(losses.terms["aging"], ((age - anchors.age) / 100) ** 2)
    distance = (tiny.embed(img) - anchors.embedding).norm(dim=1)
    weight = identity_weight(anchors.age, previous)
    assert torch.allclose(losses.terms["id"], weight * distance**2 / 2, atol=1e-6)
    assert weight[0] == 1
    assert weight[1] == pytest.approx(0.25 * math.cos(math.pi * abs(anchors.age[1].item() - 20) / 100) + 0.75)
    assert torch.allclose(losses.terms["l2"], torch.full((3,), 0.01))
    cross_entropy = -(anchors.log_gender.exp() * tiny.gender(img)).sum(dim=1)
    assert torch.allclose(losses.terms["gender"], cross_entropy)
    weights = {"aging": 5, "id": 0.1, "l2": 0.01, "perceptual": 0.01, "gender": 0.5}
    assert torch.allclose(losses.total, sum(weights[k] * v for k, v in losses.terms.items()))


def test_requested_age_is_the_goal_on_request(tiny: Networks, anchors: Anchors) -> None:
    losses = objective(tiny, anchors.img, anchors.constants([0, 1, 2]), replace(LOSS, aging_target="requested"), None)
    assert torch.allclose(losses.terms["aging"], ((anchors.age - 60) / 100) ** 2, atol=1e-6)


def test_an_anchor_has_no_loss(tiny: Networks, anchors: Anchors) -> None:
    losses = objective(tiny, anchors.img, anchors.constants([0, 1, 2]), LOSS, None)
    assert torch.allclose(losses.total, torch.zeros(3), atol=1e-6)


def test_refinement_lowers_every_loss_and_leaves_to_rgb_alone(tiny: Networks, anchors: Anchors) -> None:
    samples = starts(tiny, anchors)
    first = {(s.row, s.output): s.s for s in samples}
    seen: dict[tuple[int, int], list[float]] = {}
    done = refine(
        tiny, anchors, samples, LOSS, REFINEMENT,
        lambda sample, step, losses: seen.setdefault((sample.row, sample.output), []).append(losses["loss"]),
    )  # fmt: skip
    for sample in done:
        key = (sample.row, sample.output)
        assert sample.losses["loss"] == min(seen[key]) < seen[key][0]
        assert len(seen[key]) == sample.evaluations == sample.steps + 1
        to_rgb = tiny.space.to_rgb_mask
        assert torch.equal(sample.s[to_rgb], anchors.s[sample.row][to_rgb])
        assert not torch.equal(sample.s, first[key])
    assert len(seen) == 6


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_batch_that_does_not_fit_is_halved(
    tiny: Networks, anchors: Anchors, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    expected = finish(tiny, anchors, starts(tiny, anchors), batch_size=2, max_steps=4)
    drawn: list[int] = []
    synthesis = tiny.generator.synthesis_pooled

    def small(s: torch.Tensor, size: int) -> torch.Tensor:
        drawn.append(len(s))

        def refuse(gradient: torch.Tensor | None = None) -> None:
            if len(s) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")

        if where == "forward":
            refuse()
        img = synthesis(s, size)
        if img.requires_grad:
            img.register_hook(refuse)
        return img

    monkeypatch.setattr(tiny.generator, "synthesis_pooled", small)
    found = finish(tiny, anchors, starts(tiny, anchors), batch_size=5, max_steps=4)
    assert drawn == [5] + [2] * (len(drawn) - 1)
    assert found.keys() == expected.keys()
    for key, sample in found.items():
        assert torch.equal(sample.s, expected[key].s)
        assert (sample.steps, sample.evaluations) == (expected[key].steps, expected[key].evaluations)


@pytest.mark.parametrize("keys", [{}, {"views": "turn"}])
def test_batches_filled_up_as_on_a_gpu_give_the_same(
    tiny: Networks, anchors: Anchors, monkeypatch: pytest.MonkeyPatch, keys: dict[str, str]
) -> None:
    """Equal but for rounding, as in the test of samples that do not mix."""
    expected = finish(tiny, anchors, starts(tiny, anchors), batch_size=3, max_steps=2, **keys)
    drawn: list[int] = []
    synthesis = tiny.generator.synthesis_pooled

    def counted(s: torch.Tensor, size: int) -> torch.Tensor:
        drawn.append(len(s))
        return synthesis(s, size)

    monkeypatch.setitem(refine.__globals__, "full_size", lambda n, device: full_size(n, torch.device("cuda")))
    monkeypatch.setattr(tiny.generator, "synthesis_pooled", counted)
    found = finish(tiny, anchors, starts(tiny, anchors), batch_size=3, max_steps=2, **keys)
    assert set(drawn) == {4}
    assert found.keys() == expected.keys()
    for key, sample in found.items():
        assert sample.losses == pytest.approx(expected[key].losses, rel=1e-3, abs=1e-6)
        assert (sample.s - expected[key].s).abs().mean() < 1e-3
        assert (sample.steps, sample.evaluations) == (expected[key].steps, expected[key].evaluations)


@pytest.mark.thorough
def test_company_makes_no_difference(tiny: Networks, anchors: Anchors) -> None:
    in_turn = finish(tiny, anchors, starts(tiny, anchors), batch_size=1)
    reversed_ = finish(tiny, anchors, starts(tiny, anchors)[::-1], batch_size=1)
    alone = {}
    for i in range(6):
        alone |= finish(tiny, anchors, starts(tiny, anchors)[i : i + 1], batch_size=1)
    for key, sample in in_turn.items():
        assert torch.equal(sample.s, reversed_[key].s)
        assert torch.equal(sample.s, alone[key].s)


@pytest.mark.parametrize("batch_size", [2, 4, 6])
def test_samples_in_one_batch_do_not_mix(tiny: Networks, anchors: Anchors, batch_size: int) -> None:
    """Equal but for rounding, which Adam's division by tiny gradients amplifies from step to step."""
    alone = finish(tiny, anchors, starts(tiny, anchors), batch_size=1, max_steps=2)
    together = finish(tiny, anchors, starts(tiny, anchors), batch_size=batch_size, max_steps=2)
    for key, sample in alone.items():
        assert sample.losses["loss"] == pytest.approx(together[key].losses["loss"], rel=1e-3)
        assert (sample.s - together[key].s).abs().mean() < 1e-3


def test_plateau_ends_each_sample_by_itself(tiny: Networks, anchors: Anchors) -> None:
    samples = [Sample(0, 0, anchors.s[0]), *starts(tiny, anchors)[2:4]]  # the first starts where nothing can be gained
    done = list(refine(tiny, anchors, samples, LOSS, replace(REFINEMENT, lr=1e-6, max_steps=50)))
    assert all(sample.converged and sample.steps < 50 for sample in done)
    lively = list(refine(tiny, anchors, starts(tiny, anchors)[2:4], LOSS, replace(REFINEMENT, min_delta=0.0)))
    assert all(not sample.converged and sample.steps == REFINEMENT.max_steps for sample in lively)


def test_channels_that_are_not_free_stay_where_they_started(tiny: Networks, anchors: Anchors) -> None:
    free = torch.arange(tiny.space.n_channels) % 3 == 0
    start = anchors.s[0] + 0.5  # toRGB channels, too
    (sample,) = refine(tiny, anchors, [Sample(0, 0, start)], LOSS, replace(REFINEMENT, keep="last"), free=free)
    to_rgb = tiny.space.to_rgb_mask
    assert torch.equal(sample.s[to_rgb], anchors.s[0][to_rgb])
    assert torch.equal(sample.s[~to_rgb & ~free], start[~to_rgb & ~free])
    assert (sample.s != start)[~to_rgb & free].any()


@pytest.mark.parametrize("patience", [1, 4])
def test_a_sample_that_never_moves_leaves_after_its_patience(tiny: Networks, anchors: Anchors, patience: int) -> None:
    settings = replace(REFINEMENT, patience=patience, min_delta=1e9, max_steps=50)
    (sample,) = refine(tiny, anchors, starts(tiny, anchors)[:1], LOSS, settings)
    assert sample.converged
    assert (sample.steps, sample.evaluations) == (patience, patience + 1)  # the first loss is what none moves from


def test_published_rule_keeps_the_last_step_that_moved(tiny: Networks, anchors: Anchors) -> None:
    losses: list[float] = []
    settings = replace(REFINEMENT, lr=0.3, keep="last_moved", min_delta=1e-3)
    start = starts(tiny, anchors)[:1]
    (sample,) = refine(tiny, anchors, start, LOSS, settings, lambda _, __, reading: losses.append(reading["loss"]))
    reference = math.inf
    for loss in losses:
        reference = loss if abs(loss - reference) >= 1e-3 else reference
    assert sample.losses["loss"] == reference


def test_nan_fails_one_sample_and_spares_the_others(tiny: Networks, anchors: Anchors) -> None:
    samples = starts(tiny, anchors)
    samples[1].s = samples[1].s * math.nan
    done = finish(tiny, anchors, samples)
    clean = finish(tiny, anchors, starts(tiny, anchors))
    assert "loss became nan at step 0" in done[0, 1].failure
    for key in set(done) - {(0, 1)}:
        assert not done[key].failure
        assert torch.equal(done[key].s, clean[key].s)


def test_zero_steps_change_nothing(tiny: Networks, anchors: Anchors) -> None:
    samples = starts(tiny, anchors)
    codes = [sample.s for sample in samples]
    assert [s.s for s in refine(tiny, anchors, samples, LOSS, replace(REFINEMENT, max_steps=0))] == codes


class Echo(torch.nn.Module):
    """A draft that draws exactly what its generator does, and counts the pictures."""

    trunk = 8

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.drawn, self.synthesis = 0, networks.generator.synthesis_pooled

    def forward(self, features: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        self.drawn += len(s)
        return self.synthesis(s, 32)


@pytest.fixture
def drafted(tiny: Networks) -> Networks:
    networks = load_tiny()
    networks.draft = Echo(tiny)
    return networks


def test_the_first_steps_are_the_drafts(drafted: Networks, anchors: Anchors) -> None:
    seen: list[int] = []
    samples = starts(drafted, anchors)[:2]
    settings = replace(REFINEMENT, draft_steps=3, max_steps=5, patience=99, keep="last")
    done = list(refine(drafted, anchors, samples, LOSS, settings, lambda sample, step, losses: seen.append(step)))
    assert drafted.draft.drawn == len(anchors) + 2 * 4  # anchors, and each sample's three steps and where they end
    assert seen == 2 * [0, 1, 2, 3] + 2 * [3, 4, 5]
    assert [(sample.steps, sample.evaluations) for sample in done] == [(5, 7), (5, 7)]


def test_the_best_step_is_one_of_the_generators(drafted: Networks, anchors: Anchors) -> None:
    class Flattering(Echo):
        def forward(self, features: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
            return anchors.img[:1].expand(len(s), -1, -1, -1) + 0 * super().forward(features, s)

    drafted.draft = Flattering(drafted)  # every loss on it is 0
    (sample,) = finish(drafted, anchors, starts(drafted, anchors)[:1], draft_steps=1, max_steps=3).values()
    constants = anchors.constants([sample.row])
    assert sample.losses["loss"] > 0
    assert sample.losses["l2"] == pytest.approx(
        (drafted.render(sample.s[None]) - constants.img).square().mean().item(), rel=1e-3
    )


def test_who_fails_on_the_draft_goes_no_further(drafted: Networks, anchors: Anchors) -> None:
    samples = starts(drafted, anchors)
    samples[1].s[0] = math.nan
    done = finish(drafted, anchors, samples, draft_steps=2, max_steps=4)
    assert len(done) == len(samples)
    assert "loss became nan at step 0" in done[0, 1].failure
    assert all(not sample.failure and sample.steps == 4 for key, sample in done.items() if key != (0, 1))


def test_draft_steps_without_a_draft_are_an_error(tiny: Networks, anchors: Anchors) -> None:
    with pytest.raises(AdfdError, match="tiny-0 has no draft; make one with"):
        finish(tiny, anchors, starts(tiny, anchors), draft_steps=2)


def test_networks_take_no_gradient(tiny: Networks, anchors: Anchors) -> None:
    finish(tiny, anchors, starts(tiny, anchors)[:1], max_steps=1)
    assert all(not p.requires_grad and p.grad is None for p in tiny.parameters())


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        (REFINEMENT, {"lr": 0.0}, "refine.lr must be positive, got 0.0"),
        (REFINEMENT, {"max_steps": -1}, "refine.max_steps must be at least 0, got -1"),
        (REFINEMENT, {"patience": 0}, "refine.patience"),
        (REFINEMENT, {"keep": "worst"}, "refine.keep must be best, last or last_moved, got worst"),
        (LOSS, {"aging": -1.0}, "loss.aging must be a number of at least 0, got -1.0"),
        (LOSS, {"id": math.nan}, "loss.id"),
        (LOSS, {"aging_target": "self"}, "loss.aging_target"),
        (REFINEMENT, {"draft_steps": -1}, "refine.draft_steps must be at least 0"),
        (REFINEMENT, {"draft_steps": 12}, "refine.draft_steps must be below max_steps=12, got 12"),
        (LOSS, {"aging": 0, "id": 0, "l2": 0, "perceptual": 0}, "all weights of loss are 0"),
    ],
)
def test_impossible_settings(settings: object, change: dict, message: str) -> None:
    with pytest.raises(AdfdError, match=message):
        replace(settings, **change)  # type: ignore[type-var]
