"""A draft learns from its generator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from adfd.analysis import distillation as module
from adfd.analysis.distillation import Codes, Distillation, fidelity
from adfd.basics.errors import AdfdError
from adfd.models.draft import Draft
from adfd.models.networks import Networks
from adfd.models.tiny import load_tiny

SETTINGS = {"lr": 2e-3, "widths": [12, 8], "rank": 6, "held_out": 8}
STEPS = {"steps": 3, "batch_size": 8, "measured_every": 20}
SHORT = ("distillation.batch_size=8", "distillation.widths=[12,8]", "distillation.rank=6", "distillation.held_out=8")


def taught(networks: Networks, steps: int, **changes: float) -> tuple[Draft, list[dict]]:
    rows: list[dict] = []
    settings = Distillation(**SETTINGS | STEPS | {"steps": steps} | changes)
    return settings(networks, 0, lambda draft, row: rows.append(row)), rows


def test_it_comes_to_draw_as_the_generator_does(tiny: Networks) -> None:
    draft, rows = taught(tiny, 200, batch_size=16, measured_every=80)
    assert len(rows) == 200
    measured = [row for row in rows if row]
    assert [row["step"] for row in measured] == [80, 160, 200]
    codes = Codes(tiny, 0)
    at_first = fidelity(tiny, Distillation(**SETTINGS, **STEPS).untaught(tiny, 0, codes), (codes(-1, 8),))
    assert measured[2]["psnr"] > measured[0]["psnr"] > at_first["psnr"] + 5
    assert measured[2]["id_similarity"] > at_first["id_similarity"] + 0.1
    assert measured[2]["perceptual"] < 0.5 * at_first["perceptual"]
    assert measured[2] == {"step": 200, **fidelity(tiny, draft, (Codes(tiny, 0)(-1, 8),))}
    assert not any(weight.requires_grad for weight in draft.parameters())


def test_every_step_has_codes_of_its_own(tiny: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    drawn = Codes.__call__
    monkeypatch.setattr(Codes, "__call__", lambda self, step, n: asked.append(step) or drawn(self, step, n))
    taught(tiny, 3)
    assert sorted(asked) == [-2, -1, 0, 1, 2]


def test_the_same_seed_teaches_the_same(tiny: Networks) -> None:
    first, _ = taught(tiny, 3)
    torch.manual_seed(5)
    again, _ = taught(tiny, 3)
    assert first.digest == again.digest


def test_codes_are_those_of_their_step(tiny: Networks) -> None:
    codes = Codes(tiny, 0)
    assert torch.equal(codes(4, 3), codes(4, 3))
    assert not torch.equal(codes(4, 3), codes(5, 3))
    assert not torch.equal(codes(4, 3), Codes(tiny, 1)(4, 3))
    assert codes(4, 3).shape == (3, tiny.space.n_channels)


def test_a_perfect_draft_has_no_loss(tiny: Networks) -> None:
    s = Codes(tiny, 0)(0, 2)

    class Perfect(torch.nn.Module):
        size, trunk = 32, 8

        def forward(self, features: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
            return tiny.synthesis_pooled(s)

    assert abs(module.difference(tiny, Perfect(), s).item()) < 1e-6  # type: ignore[arg-type]
    worse = module.difference(tiny, Draft(tiny.name, tiny.space, 32, [8], 4), s)
    assert worse.item() > 0.1


def test_a_loss_that_is_not_a_number_ends_it(tiny: Networks) -> None:
    with pytest.raises(AdfdError, match=r"loss is not a number at step 2; lower distillation\.lr"):
        taught(load_tiny(), 2, lr=1e30, measured_every=2)


def test_impossible_settings_are_refused() -> None:
    for change, match in (
        ({"steps": 0}, "distillation.steps must be at least 1"),
        ({"steps": 10**7}, "distillation.steps must be at most 1000000"),
        ({"widths": []}, "distillation.widths must be numbers of channels above 0"),
        ({"widths": [8, 0]}, "distillation.widths must be numbers of channels above 0"),
        ({"lr": 0.0}, "distillation.lr must be a finite number greater than 0"),
    ):
        with pytest.raises(AdfdError, match=match):
            Distillation(**SETTINGS | STEPS | change)


def test_the_stage_leaves_a_draft_that_a_run_can_use(
    run_stage: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_stage("distillation.steps=3", "distillation.measured_every=2", *SHORT, stage="distill")
    measured = [json.loads(line) for line in (run / "fidelity.jsonl").read_text().splitlines()]
    assert [row["step"] for row in measured] == [2, 3]
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["psnr"] == measured[-1]["psnr"]
    assert (run / "draft.png").stat().st_size > 0
    assert str(run / "draft.npz") in capsys.readouterr().out
    settings = ("data=portrait", f"model.draft={run / 'draft.npz'}", "prepare.steps=3", "prepare.size=256")
    prepared = run_stage(*settings, "prepare.full_steps=1", stage="prepare", directory="prepared")
    assert "ready" in (prepared / "photos.csv").read_text()
