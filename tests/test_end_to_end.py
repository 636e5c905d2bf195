"""The main job on the real photo with the real networks, short."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from adfd.models import load_mobile
from tests.conftest import rows_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _all_cores() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, torch.multiprocessing.cpu_count()))
    yield
    torch.set_num_threads(threads)


def test_portrait_diversified_and_guided(run_stage: Callable[..., Path]) -> None:
    sweep = run_stage(
        "-m", "experiment=demo_old,demo_child", "model=mobile", "prepare.steps=40", "refine.max_steps=6"
    )  # fmt: skip
    (record,) = csv.DictReader((sweep / "0" / "photos.csv").open())
    assert record["status"] == "ready"
    assert float(record["id_distance"]) < 0.45  # well inside dlib's same-person threshold of 0.6

    old = rows_of(sweep / "0")
    assert [row["status"] for row in old] == ["ok"] * 3
    for row in old:
        assert row["steps"] == 6
        assert Image.open(sweep / "0" / row["image"]).size == (1024, 1024)
        assert row["anchor_age"] > 50
        assert row["id_similarity_anchor"] > 0.75
        assert abs(row["age"] - row["anchor_age"]) < 2.1 or not row["reached"]  # accept.age is 2 years
    assert json.loads((sweep / "0" / "summary.json").read_text())["diversity"] > 0.01

    (child,) = rows_of(sweep / "1")
    assert child["converged"]
    assert abs(child["age"] - 8) < 0.55
    assert (sweep / "contact_sheet.png").exists()


def test_a_sure_reading_of_age_still_has_a_gradient() -> None:
    networks = load_mobile()
    with torch.no_grad():
        logits = networks.age.head.weight
        logits.mul_(20)  # as sure as a network can be
    img = networks.render(networks.affine(networks.generator.w_avg[None])).requires_grad_()
    age = networks.age(img)
    (gradient,) = torch.autograd.grad(age.sum(), img)
    assert age.item() == pytest.approx(networks.age(img.detach()).item(), abs=1e-4)
    assert gradient.norm() > 1e-3


def test_gradients_reach_the_codes_only() -> None:
    networks = load_mobile()
    s = networks.affine(networks.generator.w_avg[None]).requires_grad_()
    img = networks.synthesis(s)
    networks.age(img).sum().backward()
    assert s.grad is not None
    assert torch.isfinite(s.grad).all()
    assert s.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in networks.parameters())
