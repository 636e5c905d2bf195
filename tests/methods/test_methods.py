from __future__ import annotations

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from adfd.basics.batching import row_by_row
from adfd.basics.errors import AdfdError
from adfd.basics.seeding import Draws, draw, output_seed
from adfd.faces.people import synthetic_people
from adfd.methods.anchors import Anchors
from adfd.methods.diversify import Perturbation, diversify, mask, opposite, perturb
from adfd.methods.guided import Path, Search, bracket, guided, guided_anchors, path_codes, published, walk
from adfd.methods.objective import LossWeights
from adfd.methods.reference_mixing import reference_mixing, sams_layers
from adfd.methods.refine import Refinement, Sample
from adfd.methods.style_mixing import style_mixing
from adfd.methods.transform import transform
from adfd.models.networks import Networks
from adfd.stylespace.layout import mobilestylegan, stylegan2
from adfd.stylespace.weights import channel_weights
from tests.conftest import PAPER_WEIGHTS

LOSS = LossWeights(5, 0.1, 0.01, 0.01, 0, "anchor", True)
REFINEMENT = Refinement(lr=0.05, max_steps=5, draft_steps=0, patience=7, min_delta=1e-4, batch_size=4, keep="best")
PERTURBATION = Perturbation(1.0, True, "weights", PAPER_WEIGHTS, False)
WANTED = [(row, k) for row in range(3) for k in range(2)]
PATH = Path(n_samples=4, interval=3)
SEARCH = Search("bracket", tolerance=0.5, max_moves=100, reach=60)


def ignore(*_: object) -> None:
    pass


def by_key(samples: object) -> dict[tuple[int, int], Sample]:
    return {(sample.row, sample.output): sample for sample in samples}  # type: ignore[attr-defined]


def test_latents_belong_to_the_output() -> None:
    both = draw(0, ["a", "b"], [(0, 0), (0, 1), (1, 0)], 8)
    alone = draw(0, ["b"], [(0, 0)], 8)
    assert torch.equal(both.z[2], alone.z[0])
    assert len({output_seed(s, n, k) for s in (0, 1) for n in ("a", "b") for k in (0, 1)}) == 8
    assert not torch.equal(both.z[0], both.z[1])


def test_transform_is_the_anchor(tiny: Networks, anchors: Anchors) -> None:
    draws = draw(0, anchors.sources.names, [(2, 0), (0, 0)], 32)
    done = by_key(transform(tiny, anchors, draws, on_step=ignore))
    assert set(done) == {(2, 0), (0, 0)}
    assert torch.equal(done[2, 0].s, anchors.s[2])


def test_style_mixing_replaces_fine_layers_only(tiny: Networks, anchors: Anchors) -> None:
    draws = draw(0, anchors.sources.names, WANTED, 32)
    done = by_key(style_mixing(tiny, anchors, draws, from_resolution=16, psi=1.0, on_step=ignore))
    w = tiny.mapping(draws.z)
    for i, (row, k) in enumerate(WANTED):
        styles = zip(
            tiny.space.layers,
            tiny.space.split(done[row, k].s),
            tiny.space.split(anchors.s[row]),
            tiny.space.split(tiny.affine(w)[i]),
            strict=True,
        )
        for layer, found, coarse, fine in styles:
            assert torch.allclose(found, fine if layer.resolution >= 16 else coarse, atol=1e-5)


def test_reference_mixing_takes_the_named_rows(tiny: Networks, anchors: Anchors) -> None:
    references = synthetic_people(tiny, [7, 8], psi=1.0).sources
    draws = draw(0, anchors.sources.names, WANTED, 32)
    layers, strength = [6, 2, 3, 2], 0.3
    mixed = reference_mixing(
        tiny, anchors, draws, references=references, layers=layers, strength=strength, on_step=ignore
    )
    done = by_key(mixed)
    assert set(done) == set(WANTED)
    for row, k in WANTED:
        expected = anchors.w_plus[row].clone()
        for layer in {*layers}:
            expected[layer] += strength * (references.w_plus[k, layer] - expected[layer])
        torch.testing.assert_close(done[row, k].s, tiny.affine(expected[None])[0])
    (whole,) = reference_mixing(
        tiny,
        anchors,
        replace_rows(draws, (1,), (1,)),
        references=references,
        layers=range(8),
        strength=1,
        on_step=ignore,
    )
    torch.testing.assert_close(whole.s, tiny.affine(references.w_plus[1:])[0])
    (none,) = reference_mixing(
        tiny, anchors, replace_rows(draws, (1,), (1,)), references=references, layers=[0], strength=0, on_step=ignore
    )
    torch.testing.assert_close(none.s, anchors.s[1])
    for change, message in (
        ({"layers": [8]}, r"method\.layers must lie in 0\.\.7 for this generator, got 8"),
        ({"layers": []}, r"method\.layers is empty"),
        ({"strength": 1.5}, r"method\.strength must lie in 0\.\.1, got 1\.5"),
    ):
        options = {"layers": [1], "strength": 0.5} | change
        with pytest.raises(AdfdError, match=message):
            list(reference_mixing(tiny, anchors, draws, references=references, on_step=ignore, **options))  # type: ignore[arg-type]


def replace_rows(draws: Draws, rows: tuple[int, ...], outputs: tuple[int, ...]) -> Draws:
    return replace(draws, rows=rows, outputs=outputs)


def test_sams_layers_in_either_generator() -> None:
    assert sams_layers(stylegan2()) == [8, 9]
    space = mobilestylegan()
    rows = sams_layers(space)
    assert [space.layers[row].name for row in rows] == ["block3.conv1", "block3.conv2", "block4.up"]
    assert [space.layers[row].resolution for row in rows] == [64, 64, 128]
    assert sams_layers(mobilestylegan((8, 8))) == []


def test_perturbation_follows_the_formula(tiny: Networks, anchors: Anchors) -> None:
    draws = draw(0, anchors.sources.names, [(0, 0)], 32)
    style = tiny.affine(tiny.mapping(draws.z))
    centred = perturb(tiny, anchors.s[:1], draws.z, Perturbation(0.5, True, "weights", PAPER_WEIGHTS, False))
    whole = perturb(tiny, anchors.s[:1], draws.z, Perturbation(0.5, False, "weights", PAPER_WEIGHTS, False))
    assert tiny.channels is not None
    m = channel_weights(tiny.channels, tiny.space, PAPER_WEIGHTS)
    assert torch.allclose(centred, anchors.s[:1] + 0.5 * m * (style - tiny.s_mean))
    assert torch.allclose(whole, anchors.s[:1] + 0.5 * m * style)


def test_every_second_output_adds_the_opposite_and_keeps_the_gender(tiny: Networks, anchors: Anchors) -> None:
    def codes(wanted: list[tuple[int, int]], antithetic: bool) -> dict[tuple[int, int], Tensor]:
        draws = draw(0, anchors.sources.names, wanted, 32)
        perturbation = Perturbation(1.0, True, "weights", PAPER_WEIGHTS, antithetic)
        still = replace(REFINEMENT, max_steps=0)
        done = diversify(tiny, anchors, draws, perturbation=perturbation, loss=LOSS, refinement=still, on_step=ignore)
        return {key: sample.s - anchors.s[key[0]] for key, sample in by_key(done).items()}

    def cosine(a: Tensor, b: Tensor) -> float:
        return torch.nn.functional.cosine_similarity(a, b, dim=0).item()

    pairs, free = codes(WANTED, True), codes(WANTED, False)
    assert tiny.channels is not None
    assert tiny.channels.gender_readout is not None
    for row in range(3):
        assert torch.equal(pairs[row, 0], free[row, 0])
        assert cosine(pairs[row, 0], pairs[row, 1]) < -0.8
        assert cosine(free[row, 0], free[row, 1]) > -0.5
    assert torch.equal(codes([(1, 1)], True)[1, 1], pairs[1, 1])
    w = tiny.mapping(torch.randn(5, 32))
    reflected, mean, readout = opposite(tiny, w), tiny.generator.w_avg, tiny.channels.gender_readout
    torch.testing.assert_close(reflected @ readout, w @ readout)
    torch.testing.assert_close((reflected - mean).norm(dim=1), (w - mean).norm(dim=1))
    torch.testing.assert_close(opposite(tiny, reflected), w)
    unread = SimpleNamespace(generator=tiny.generator, channels=replace(tiny.channels, gender_readout=None))
    torch.testing.assert_close(opposite(unread, w) - mean, mean - w)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["weights", "uniform", "random"])
def test_masks_spare_to_rgb_and_are_equally_strong(tiny: Networks, kind: str) -> None:
    assert tiny.channels is not None
    m = mask(tiny.channels, tiny.space, Perturbation(1.0, True, kind, PAPER_WEIGHTS, False))
    weights, conv = channel_weights(tiny.channels, tiny.space, PAPER_WEIGHTS), tiny.conv_mask
    assert (m[~conv] == 0).all()
    assert m[conv].mean().item() == pytest.approx(weights[conv].mean().item(), rel=0.2)


def test_diversify_keeps_age_better_than_the_perturbation_alone(tiny: Networks, anchors: Anchors) -> None:
    draws = draw(0, anchors.sources.names, WANTED, 32)
    loss = replace(LOSS, aging=25.0)

    def age_error(steps: int) -> float:
        refinement = replace(REFINEMENT, max_steps=steps)
        done = diversify(
            tiny, anchors, draws, perturbation=PERTURBATION, loss=loss, refinement=refinement, on_step=ignore
        )
        samples = list(done)
        ages = tiny.age(tiny.render(torch.stack([s.s for s in samples])))
        return (ages - anchors.age[[s.row for s in samples]]).abs().mean().item()

    assert age_error(20) < 0.7 * age_error(0)


@pytest.mark.parametrize("kind", ["bracket", "published"])
def test_guided_reaches_what_the_path_reaches(tiny: Networks, anchors: Anchors, kind: str) -> None:
    """Targets that lie on each person's own path, so that there is something to find."""
    codes = path_codes(tiny, anchors, PATH)
    ten_years_up = torch.stack([walk(codes[:, row], 60, PATH, 70) for row in range(3)])
    for row, goal in enumerate(tiny.age(tiny.render(ten_years_up)).tolist()):
        aimed = replace(anchors, target_age=torch.full((3,), goal))
        draws = draw(0, anchors.sources.names, [(row, 0)], 32)
        search = replace(SEARCH, kind=kind)
        (sample,) = guided(tiny, aimed, draws, path=PATH, search=search, batch_size=2, on_step=ignore)
        read = tiny.age(tiny.render(sample.s[None])).item()
        assert read == pytest.approx(sample.losses["age"], abs=1e-2)
        assert sample.converged == (abs(read - goal) < 0.5)
        if kind == "bracket":
            assert sample.converged


def test_guided_does_not_depend_on_the_batch(tiny: Networks, anchors: Anchors) -> None:
    draws = draw(0, anchors.sources.names, [(0, 0), (1, 0), (2, 0)], 32)
    search = replace(SEARCH, max_moves=6)
    runs = [
        by_key(guided(tiny, anchors, draws, path=PATH, search=search, batch_size=n, on_step=ignore)) for n in (1, 3)
    ]
    for key, sample in runs[0].items():
        assert sample.losses["alpha"] == pytest.approx(runs[1][key].losses["alpha"], abs=1e-3)


def test_guided_anchors_read_the_target_age(tiny: Networks, anchors: Anchors) -> None:
    moved = guided_anchors(tiny, anchors, PATH, SEARCH, batch_size=3)
    before, after = ((a.age - a.target_age).abs() for a in (anchors, moved))
    assert (after < 0.55).sum() >= 2
    assert (after <= before + 1e-3).all()
    assert torch.equal(moved.s, row_by_row(tiny.affine, moved.w_plus))
    assert torch.allclose(moved.age, tiny.age(moved.img))


def test_path_is_piecewise_linear_and_extrapolated() -> None:
    codes = torch.tensor([[0.0], [1.0], [4.0], [5.0]])
    path = Path(n_samples=4, interval=3)
    expected = {10: 0, 13: 1, 14.5: 2.5, 16: 4, 19: 5, 22: 6, 7: -1, -20: -10}
    for alpha, value in expected.items():
        assert walk(codes, 10.0, path, alpha).item() == pytest.approx(value, abs=1e-5)


def test_published_search_halves_the_step_at_a_turn() -> None:
    search = published(10.0, SEARCH)
    assert next(search) == 10
    ages = [5, 6, 14, 8, 8, 12]  # too young, too young, too old, too young, too young, too old
    assert [search.send(age) for age in ages] == [11, 12, 11.5, 11.75, 12.0, 11.875]


@pytest.mark.parametrize("slope", [0.2, 0.8, 3.0])
@pytest.mark.parametrize("offset", [-35.0, -4.0, 6.0, 20.0])
def test_bracket_search_finds_monotone_ages_in_few_moves(slope: float, offset: float) -> None:
    def age(alpha: float) -> float:
        return 30 + slope * (alpha - 30 + offset / slope) + 2 * torch.tensor(alpha / 7).sin().item() * min(slope, 1)

    search = bracket(30.0, replace(SEARCH, reach=500.0))
    alpha, moves = next(search), 0
    while abs(age(alpha) - 30) >= 0.5:
        alpha, moves = search.send(age(alpha)), moves + 1
        assert moves < 25


def test_bracket_search_gives_up_at_its_reach() -> None:
    search = bracket(5.0, replace(SEARCH, reach=20.0))
    positions = [next(search)]
    with contextlib.suppress(StopIteration):
        while len(positions) < 100:
            positions.append(search.send(12.0))
    assert len(positions) < 20
    assert min(positions) == -15
    assert max(positions) == 5


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        (SEARCH, {"kind": "magic"}, "search.kind must be one of bracket, published, got magic"),
        (SEARCH, {"tolerance": 0.0}, "search.tolerance must be positive"),
        (PATH, {"n_samples": 1}, "path.n_samples must be at least 2, got 1"),
        (PATH, {"interval": -3.0}, "path.interval"),
        (PERTURBATION, {"mask": "hair"}, "method.perturbation.mask"),
        (PERTURBATION, {"scale": float("inf")}, "method.perturbation.scale"),
    ],
)
def test_impossible_settings(settings: object, change: dict, message: str) -> None:
    with pytest.raises(AdfdError, match=message):
        replace(settings, **change)  # type: ignore[type-var]
