"""Intervention and sensitivity: planted truth, independent computations, kills and resumption."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp

from adfd.analysis import intervention
from adfd.analysis.correlation import Correlation
from adfd.analysis.intervention import Intervention
from adfd.analysis.random_faces import faces
from adfd.analysis.sensitivity import Sensitivity, derivatives
from adfd.analysis.shards import Shards
from adfd.basics.errors import AdfdError
from adfd.basics.pooling import pool
from adfd.models.networks import Networks
from adfd.models.tiny import load_tiny
from adfd.stylespace.regions import region_masks
from adfd.stylespace.statistics import Channels
from tests.planted import AGE, IDENTITY, planted
from tests.processes import kill, start

ALL = Intervention(
    select="all", channels=[], n_channels=4, n_controls=3, n_faces=4, k=3.0, psi=0.9, batch_size=3
)  # fmt: skip


def analysed(networks: Networks, settings: Intervention | Sensitivity, folder: Path, seed: int = 0) -> Channels:
    return settings(networks, seed, Shards(folder, settings.key))


@pytest.mark.parametrize("seed", range(5))
def test_planted_truth_is_found_and_nothing_else(tmp_path: Path, seed: int) -> None:
    found = analysed(planted(), ALL, tmp_path, seed)
    assert found.significant("slope", 0.01).nonzero().flatten().tolist() == [AGE]
    assert found.significant("id_change", 0.01).nonzero().flatten().tolist() == [IDENTITY]
    assert found.slope_age is not None
    assert found.id_change is not None
    assert found.s_std is not None
    assert found.slope_age[AGE].item() == pytest.approx(10 * found.s_std[AGE].item(), rel=1e-4)
    assert found.id_change[IDENTITY].item() == pytest.approx((3 * found.s_std[IDENTITY].item()) ** 2 / 2, rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_planted_truth_is_found_by_derivatives(tmp_path: Path, seed: int) -> None:
    found = analysed(planted(), Sensitivity(n_faces=20, psi=0.9), tmp_path, seed)
    assert found.sensitivity_age is not None
    assert found.sensitivity_id is not None
    assert found.sensitivity_age.nonzero().flatten().tolist() == [AGE]
    assert found.sensitivity_id.nonzero().flatten().tolist() == [IDENTITY]
    assert found.s_std is not None
    assert found.sensitivity_age[AGE].item() == pytest.approx(10 * found.s_std[AGE].item(), rel=1e-4)
    names = found.main_regions()
    assert names is not None
    assert names[0] == "background" or names[0] == "hair"  # the uppermost rows
    assert names[11] in ("mouth", "jaw")


def test_projections_estimate_the_squares_of_the_jacobian(tiny: Networks) -> None:
    w, chosen = faces(tiny, 1, 0.9, 0), [0, 40, 100]
    estimates = [derivatives(tiny, w, seed, lambda n: None) for seed in range(60)]
    s, masks = tiny.affine(w), region_masks(32)
    for c in chosen:
        direction = torch.zeros_like(s)
        direction[0, c] = 1.0
        _, change = torch.func.jvp(lambda s: pool(tiny.synthesis(s)), (s,), (direction,))
        _, moved = torch.func.jvp(lambda s: tiny.embed(pool(tiny.synthesis(s))), (s,), (direction,))
        energy = change[0].square().mean(dim=0)  # [32, 32]
        squares = torch.stack([energy[mask].mean() for mask in masks])
        ratio = torch.stack([estimate["regions"][c] for estimate in estimates]).mean(dim=0) / squares
        assert ratio.mean().item() == pytest.approx(1, abs=0.25)
        assert ((ratio > 0.4) & (ratio < 2)).all()
        lengths = torch.stack([estimate["embedding"][c] for estimate in estimates])
        assert lengths.mean().item() == pytest.approx(moved.square().sum().item(), rel=0.6)
        assert lengths.std() > 0  # each is a projection of its own


def test_effects_against_an_independent_computation(tmp_path: Path, tiny: Networks) -> None:
    settings = replace(ALL, channels=[7, 50], n_faces=3)
    found = analysed(tiny, settings, tmp_path)
    assert found.s_std is not None
    s = tiny.affine(faces(tiny, 3, 0.9, 0))
    with torch.no_grad():
        for c in (7, 50):
            images = []
            for sign in (0, 1, -1):
                moved = s.clone()
                moved[:, c] += sign * 3 * found.s_std[c]
                images.append(tiny.synthesis(moved))
            still, up, down = images
            slope = (tiny.age(up) - tiny.age(down)) / 6
            similar = torch.stack([tiny.id_similarity(tiny.embed(img), tiny.embed(still)) for img in (up, down)])
            pixel = torch.stack([(img - still).abs().mean() for img in (up, down)]).mean()
            hair = region_masks(32)[0]
            hair_change = torch.stack([(img - still).abs().mean(dim=1)[:, hair].mean() for img in (up, down)]).mean()
            for name, expected in {
                "slope_age": slope.mean(),
                "slope_age_sd": slope.std(),
                "p_slope": torch.tensor(ttest_1samp(slope.numpy(), 0).pvalue),
                "id_change": 1 - similar.mean(),
                "pixel_change": pixel,
            }.items():
                assert getattr(found, name)[c].item() == pytest.approx(expected.item(), rel=2e-2, abs=1e-5), name
            assert found.region_change is not None
            assert found.region_change[c, 0].item() == pytest.approx(hair_change.item(), rel=1e-3)
    unmoved = [c for c in range(tiny.space.n_channels) if c not in (7, 50)]
    for name in ("slope_age", "p_slope", "id_change", "pixel_change"):
        assert getattr(found, name)[unmoved].isnan().all()
    assert found.significant("slope", 0.99).sum() <= 2
    assert tiny.channels is not None
    assert torch.equal(found.coef_age, tiny.channels.coef_age)  # type: ignore[arg-type]


def test_selections(tmp_path: Path, tiny: Networks) -> None:
    coef, conv = tiny.channels.coef_age, tiny.conv_mask  # type: ignore[union-attr]
    assert coef is not None
    top = replace(ALL, select="top").selected(tiny)
    assert len(top) == len(set(top)) == 4 + 3
    assert conv[top].all()
    assert sorted(coef[top[:4]].tolist(), reverse=True) == coef[conv].topk(4).values.tolist()
    assert replace(ALL, select="all").selected(tiny) == list(range(104))
    assert replace(ALL, select="layers").n_units(tiny) == 4 * (1 + 2 * len(tiny.space.layers))
    for select in ("top", "layers"):
        with pytest.raises(AdfdError, match="needs correlations, and planted has none; first"):
            replace(ALL, select=select).selected(planted())
    with pytest.raises(AdfdError, match=r"analysis\.channels must lie in 0\.\.15, got 16"):
        replace(ALL, channels=[16]).selected(planted())


def test_a_layer_moves_along_its_correlations(tmp_path: Path) -> None:
    networks = planted()
    settings = Correlation(n_samples=2000, n_pairs=100, n_permutations=1, psi=0.9, batch_size=500)
    networks.channels = settings(networks, 0, Shards(tmp_path, settings.key))
    found = analysed(networks, replace(ALL, select="layers"), tmp_path)
    assert found.layer_slope_age is not None
    assert found.s_std is not None
    assert found.layer_slope_age.tolist() == pytest.approx([10 * found.s_std[AGE].item(), 0], rel=0.05)
    assert found.slope_age is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"select": "best"}, "analysis.select must be one of top, layers, all, got best"),
        ({"k": 0.0}, "analysis.k must be a positive number, got 0.0"),
        ({"n_faces": 1}, "analysis.n_faces must be at least 2, got 1"),
        ({"psi": 1.5}, "analysis.psi must lie in 0..1"),
    ],
)
def test_impossible_settings(change: dict, message: str) -> None:
    with pytest.raises(AdfdError) as error:
        replace(ALL, **change)
    assert message in str(error.value)


def test_constant_effects_are_certain() -> None:
    effect = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    found = intervention.p_values(effect, "two-sided").tolist()
    assert found == pytest.approx([0, 1, ttest_1samp([1, 2, 3], 0).pvalue])


SOME = replace(ALL, channels=list(range(0, 104, 4)))


@pytest.mark.parametrize("analysis", [SOME, Sensitivity(4, 0.9), Correlation(600, 1000, 5, 0.9, 100)])
def test_started_again_it_computes_what_is_missing_and_gives_the_same(
    tmp_path: Path, analysis: Intervention | Sensitivity | Correlation
) -> None:
    networks = load_tiny()
    whole = analysis(networks, 0, Shards(tmp_path / "whole", analysis.key))

    class Killed(Shards):
        computed = 0

        def __call__(self, name: str, n_units: int, compute: Callable) -> dict:
            def counted(on_unit: Callable) -> dict:
                type(self).computed += 1
                if self.computed == 3:
                    raise KeyboardInterrupt
                return compute(on_unit)

            return super().__call__(name, n_units, counted)

    with pytest.raises(KeyboardInterrupt):
        analysis(networks, 0, Killed(tmp_path / "killed", analysis.key))
    kept = Shards(tmp_path / "killed", analysis.key)
    assert len(list(kept.path.glob("*-*.npz"))) == 2
    done: list[int] = []
    kept.on_unit = done.append
    again = analysis(networks, 0, kept)
    assert sum(done) == analysis.n_units(networks)
    for field in fields(Channels):
        a, b = getattr(whole, field.name), getattr(again, field.name)
        if isinstance(a, torch.Tensor):
            assert torch.equal(a.nan_to_num(), b.nan_to_num()), field.name
        else:
            assert a == b, field.name


def test_a_damaged_shard_is_made_anew(tmp_path: Path) -> None:
    shards = Shards(tmp_path, {"a": 1})
    shards("one", 1, lambda on_unit: {"x": torch.ones(3)})
    (shards.path / "one.npz").write_bytes(b"PK\x03\x04 cut short")
    assert shards("one", 1, lambda on_unit: {"x": torch.zeros(3)})["x"].tolist() == [0, 0, 0]
    assert Shards(tmp_path, {"a": 2}).path != shards.path


@pytest.mark.thorough
@pytest.mark.parametrize("analysis", ["correlation", "intervention"])
def test_killed_and_started_again_it_gives_the_same_file(
    tmp_path: Path, run_stage: Callable[..., Path], analysis: str
) -> None:
    sizes = {
        "correlation": ["analysis.n_samples=1000", "analysis.n_permutations=2", "analysis.n_pairs=1000"],
        "intervention": ["analysis.select=all", "analysis.n_faces=2"],
    }[analysis]
    chosen = [f"analysis={analysis}", *sizes, "gallery.rows=0", "logger=none"]
    places = ["model=tiny", "hardware=cpu", f"paths.output_dir={tmp_path}/outputs", f"hydra.run.dir={tmp_path}/killed"]
    job = start("adfd.analyze", *chosen, *places)
    while len(list(tmp_path.glob("killed/shards/*/*-*.npz"))) < 2:
        assert job.is_alive(), "it was done before it could be killed"
        time.sleep(0.01)
    kill(job)
    assert not (tmp_path / "killed/channels.npz").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("killed/shards/*/*-*.npz")}
    runs = [run_stage(*chosen, stage="analyze", directory=name) for name in ("killed", "whole")]
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    files = [np.load(run / "channels.npz") for run in runs]
    assert set(files[0]) == set(files[1])
    for key in files[0]:
        assert np.array_equal(files[0][key], files[1][key], equal_nan=files[0][key].dtype.kind == "f"), key
    assert len(files[0]["s_std"]) == 104
