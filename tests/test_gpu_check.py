"""The check of a GPU, on the CPU with tiny networks: its logic, not a GPU's numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from adfd import gpu_check
from adfd.models import device_check
from adfd.models.networks import Networks


def run(monkeypatch: pytest.MonkeyPatch, *said: str) -> int:
    monkeypatch.setattr(sys, "argv", ["adfd gpu-check", *said])
    return gpu_check.main()


def test_both_files_tell_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--device", "cpu", "--model", "tiny", "--most", "4", "--out", str(tmp_path / "new")) == 0
    told = json.loads((tmp_path / "new/gpu-check.json").read_text())
    assert capsys.readouterr().out.strip() == (tmp_path / "new/gpu-check.md").read_text().strip()
    plain, first, bf16 = told["precisions"]
    assert [row["precision"] for row in told["precisions"]] == ["float32", "float32, channels first", "bf16 autocast"]
    assert plain["picture"] == plain["age_years"] == plain["gradient_relative"] == 0  # the same device, the same sums
    assert first["picture"] < 1e-5 < bf16["picture"] < 0.2
    assert [row["batch"] for row in told["batches"]] == [1, 2, 4]
    assert all(row["seconds"] > 0 for row in told["batches"])
    assert 0 < told["share_of_ceiling"] < 2
    assert "| float32 | 0 | 0 | 0 | 0 |" in (tmp_path / "new/gpu-check.md").read_text()


def test_no_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--device", "cuda:99") == 1
    assert "--device cuda:99 cannot be used here" in capsys.readouterr().err


def test_missing_files_of_sam_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--device", "cpu", "--model", "sam", "--files", str(tmp_path)) == 1
    assert f"{tmp_path}/sam_ffhq_aging.pt" in capsys.readouterr().err


def test_a_batch_that_does_not_fit_ends_the_table(tiny: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    step = device_check.step

    def small(networks: Networks, s: torch.Tensor) -> object:
        if len(s) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(networks, s)

    monkeypatch.setattr(device_check, "step", small)
    assert [row["seconds"] is None for row in device_check.batches(tiny, 16)] == [False, False, True]


def test_what_is_counted_is_what_is_done(tiny: Networks) -> None:
    """Two samples cost twice; and a plain convolution's count is its definition."""
    once = device_check.flops_a_step(tiny)
    counter = device_check.FlopCounterMode(display=False)
    with counter:
        device_check.step(tiny, device_check.codes(tiny, 2))
    mapping = 2 * sum(layer.weight.numel() for layer in tiny.generator.mapping_layers)  # type: ignore[attr-defined]
    assert counter.get_total_flops() == pytest.approx(2 * once, rel=0.01)
    assert once > mapping
