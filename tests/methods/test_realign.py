"""Readings over views, realignment and acceptance on tiny networks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from adfd.basics.errors import AdfdError
from adfd.basics.seeding import draw
from adfd.methods.acceptance import Acceptance, judge, rms_limit, shortened, style_rms
from adfd.methods.anchors import Anchors
from adfd.methods.diversify import diversify, perturb
from adfd.methods.realign import Realignment, paths_around, realign
from adfd.methods.refine import Sample
from adfd.models.networks import Networks
from adfd.models.views import ONE_VIEW, Views
from tests.methods.test_methods import LOSS, PERTURBATION, REFINEMENT, WANTED, ignore

WIDE = Views(flip=True, shift=8, zooms=[0.9, 1.1], features=0)
MOVES = Realignment(max_moves=12, tolerance=0.5, reach=60, n_samples=5, interval=6, after_steps=True)
LENIENT = Acceptance(check=True, identity=-99, age=500, spread=500, gender=False, rms=500)


def test_views_are_what_they_say() -> None:
    img = torch.rand(2, 3, 32, 32)
    assert len(WIDE) == 8
    assert WIDE.show(img, 0) is not None
    assert torch.equal(ONE_VIEW.show(img, 0), img)
    assert torch.allclose(WIDE.show(img, 1), img.flip(3), atol=1e-5)
    assert torch.allclose(WIDE.show(img, 2)[..., :-1], img[..., 1:], atol=1e-5)  # 8 of 256 px are one of 32
    assert sorted(WIDE.turn(5, step) for step in range(8)) == list(range(8))
    with pytest.raises(AdfdError, match=r"views\.zooms must lie in 0\.5\.\.2, got 9"):
        replace(WIDE, zooms=[9])


def test_a_reading_is_the_mean_over_the_views(tiny: Networks, anchors: Anchors) -> None:
    asked = tiny.with_views(WIDE)
    age, spread = asked.read_age(anchors.img)
    table = torch.stack([tiny.age(WIDE.show(anchors.img, view)) for view in range(len(WIDE))])
    assert torch.allclose(age, table.mean(dim=0), atol=1e-3)
    assert torch.allclose(spread, table.std(dim=0, correction=0), atol=1e-3)
    assert torch.allclose(tiny.read_age(anchors.img)[0], tiny.age(anchors.img), atol=1e-3)


def test_the_second_reading_is_the_linear_models(tiny: Networks, anchors: Anchors) -> None:
    assert tiny.channels is not None
    means = torch.cat([maps.mean(dim=(2, 3)) for maps in tiny.perceptual.features(anchors.img)], dim=1)
    weights = torch.linspace(-1, 1, means.shape[1])
    known = replace(tiny.channels, age_features=weights, age_features_bias=40.0, age_features_of=tiny.perceptual.name)
    asked = tiny.with_views(replace(WIDE, features=0.25))
    asked.channels = known
    alone, spread = tiny.with_views(WIDE).read_age(anchors.img)
    age, same_spread = asked.read_age(anchors.img)
    assert torch.allclose(age, 0.75 * alone + 0.25 * (means @ weights + 40), atol=1e-3)
    assert torch.equal(spread, same_spread)
    asked.channels = replace(known, age_features_of="others")
    assert not asked.reads_features
    assert torch.equal(asked.read_age(anchors.img)[0], alone)
    asked.channels = replace(known, age_features=weights[1:])
    with pytest.raises(AdfdError, match=f"linear model of age from {len(weights) - 1} features"):
        asked.read_age(anchors.img)
    with pytest.raises(AdfdError, match=r"views\.features must lie in 0\.\.1, got 2"):
        replace(WIDE, features=2)


def test_realigned_codes_read_nearer_to_the_anchors(tiny: Networks, anchors: Anchors) -> None:
    draws = draw(0, anchors.sources.names, WANTED, 32)
    starts = perturb(tiny, anchors.s[list(draws.rows)], draws.z, PERTURBATION)
    samples = [Sample(*start) for start in zip(draws.rows, draws.outputs, starts, strict=True)]
    found = realign(tiny, anchors, samples, MOVES, paths_around(tiny, anchors, MOVES), batch_size=2)
    goal = anchors.age[list(draws.rows)]
    before = (tiny.age(tiny.render(starts)) - goal).abs()
    after = (torch.tensor([one.age for one in found]) - goal).abs()
    assert (after <= before + 1e-2).all()
    assert after.mean() < 0.5 * before.mean()
    to_rgb = tiny.space.to_rgb_mask
    assert all(torch.equal(one.s[to_rgb], start[to_rgb]) for one, start in zip(found, starts, strict=True))


@pytest.mark.parametrize("company", [WANTED, WANTED[3:4]])
def test_what_is_never_accepted_is_the_nearest_and_marked(
    tiny: Networks, anchors: Anchors, company: list[tuple[int, int]]
) -> None:
    def run(wanted: list[tuple[int, int]], acceptance: Acceptance, redraws: int) -> dict:
        draws = draw(0, anchors.sources.names, wanted, 32)
        found = diversify(
            tiny, anchors, draws, perturbation=PERTURBATION, loss=LOSS, refinement=replace(REFINEMENT, max_steps=0),
            on_step=ignore, realignment=MOVES, acceptance=acceptance, redraws=redraws,
        )  # fmt: skip
        return {(sample.row, sample.output): sample for sample in found}

    easy = run(company, LENIENT, 2)
    hard = run(company, replace(LENIENT, identity=1.0), 2)
    for key in company:
        assert easy[key].reached
        assert len(easy[key].candidates) == 1
        assert hard[key].reached is False
        told = hard[key].candidates
        assert [one["reason"] for one in told] == ["identity"] * 3
        assert len({one["id_similarity_anchor"] for one in told}) == 3
    alone = run([WANTED[3]], replace(LENIENT, identity=1.0), 2)[WANTED[3]]
    assert torch.equal(hard[WANTED[3]].s, alone.s)


def test_views_read_together_read_the_same(tiny: Networks, anchors: Anchors) -> None:
    """As a GPU does it; up to rounding."""
    alone, together = (WIDE.read(tiny.age, anchors.img, together) for together in (False, True))
    for a, b in zip(alone, together, strict=True):
        assert a.shape == b.shape == (len(anchors),)
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("identity", [-99, 0.9999])
def test_what_the_steps_led_to_is_moved_on_and_judged(tiny: Networks, anchors: Anchors, identity: float) -> None:
    def run(after_steps: bool) -> list[Sample]:
        return list(
            diversify(
                tiny, anchors, draw(0, anchors.sources.names, WANTED, 32), perturbation=PERTURBATION, loss=LOSS,
                refinement=replace(REFINEMENT, max_steps=4, lr=0.3), on_step=ignore, redraws=0,
                realignment=replace(MOVES, after_steps=after_steps), acceptance=replace(LENIENT, identity=identity),
            )
        )  # fmt: skip

    def gaps(samples: list[Sample]) -> torch.Tensor:
        return torch.stack([(tiny.age(tiny.render(one.s[None]))[0] - anchors.age[one.row]).abs() for one in samples])

    slipped, moved = run(False), run(True)
    if identity < 0:
        assert gaps(moved).mean() < 0.5 * gaps(slipped).mean()
    for sample in moved:
        first, steps = sample.candidates
        assert steps["attempt"] == "steps"
        assert sample.reached == (first["accepted"] or steps["accepted"])
        kept = first if first["accepted"] and not steps["accepted"] else steps
        assert tiny.age(tiny.render(sample.s[None]))[0].item() == pytest.approx(kept["age"], abs=0.05)
        assert sample.evaluations == sample.searched + sample.steps + 1


def test_an_output_need_not_be_more_natural_than_its_anchor(tiny: Networks, anchors: Anchors) -> None:
    s, img = anchors.s[0], anchors.img[0]
    far = tiny.s_mean + 1.05 * (s - tiny.s_mean)
    rms = style_rms(tiny, s)
    assert rms is not None
    below_the_anchor = replace(LENIENT, rms=0.5 * rms)
    assert judge(tiny, anchors, 0, far, img, 0.0, 0.0, below_the_anchor).accepted
    farther = tiny.s_mean + 1.2 * (s - tiny.s_mean)
    assert judge(tiny, anchors, 0, farther, img, 0.0, 0.0, below_the_anchor).reason == "rms"
    assert judge(tiny, anchors, 0, farther, img, 0.0, 0.0, replace(LENIENT, rms=1.3 * rms)).accepted


def test_a_perturbation_is_shortened_to_the_limit_and_not_turned(tiny: Networks, anchors: Anchors) -> None:
    anchor = anchors.s[0]
    far = anchor + 3 * (anchors.s[1] - anchor) * tiny.conv_mask
    own, reached = style_rms(tiny, anchor), style_rms(tiny, far)
    assert own is not None
    assert reached is not None
    limit = rms_limit(tiny, anchor, replace(LENIENT, rms=1.01 * own))
    assert own < limit < reached
    near = shortened(tiny, anchor, far, limit)
    assert style_rms(tiny, near) == pytest.approx(limit, rel=1e-5)
    torch.testing.assert_close(F.normalize(near - anchor, dim=0), F.normalize(far - anchor, dim=0))
    assert torch.equal(shortened(tiny, anchor, far, 2 * reached), far)
    assert tiny.channels is not None
    unmeasured = SimpleNamespace(s_mean=tiny.s_mean, channels=replace(tiny.channels, s_std=None))
    assert shortened(unmeasured, anchor, far, limit) is far  # type: ignore[arg-type]
