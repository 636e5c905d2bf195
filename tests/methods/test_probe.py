"""The batch size that a probe finds reaches whoever works in batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from adfd.config.build_edit import in_batches
from adfd.methods.anchors import Anchors
from adfd.methods.probe import probed_batch_size, step_seconds
from adfd.methods.refine import Refinement
from adfd.models.networks import Networks
from tests.conftest import rows_of
from tests.methods.test_refine import LOSS


def test_it_is_the_largest_that_fits_where_larger_is_cheaper(
    tiny: Networks, anchors: Anchors, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def seconds(networks: Networks, anchors: Anchors, loss: object, n: int) -> float:
        tried.append(n)
        if n > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.0

    assert step_seconds(tiny, anchors, LOSS, 3) > 0
    monkeypatch.setattr("adfd.methods.probe.step_seconds", seconds)
    assert probed_batch_size(tiny, anchors, LOSS) == 4
    assert tried == [1, 2, 4, 8]


def test_it_reaches_rendering_and_refinement() -> None:
    refinement = Refinement(lr=0.1, max_steps=1, draft_steps=0, patience=1, min_delta=0, batch_size=1, keep="last")
    method = in_batches(partial(dict, refinement=refinement, batch_size=1, other=2), 8)()
    assert (method["batch_size"], method["refinement"].batch_size, method["other"]) == (8, 8, 2)
    assert in_batches(partial(dict, other=2), 8)() == {"other": 2}


def test_photos_share_the_batches_of_a_run(
    run_stage: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two persons with three outputs each fill batches of four and two."""
    drawn: list[int] = []
    monkeypatch.setattr("adfd.config.build_edit.probed_batch_size", lambda *_: 4)
    draw = Networks.synthesis_pooled

    def watched(self: Networks, s: torch.Tensor, size: int = 256) -> torch.Tensor:
        if s.requires_grad:
            drawn.append(len(s))
        return draw(self, s, size)

    monkeypatch.setattr(Networks, "synthesis_pooled", watched)
    people = ["data=faces", "data.seeds=[1,2]", "n_outputs=3", "target_age=40"]
    run = run_stage(*people, "refine.max_steps=3", "hardware.probe=true", "accept.check=false", "realign.max_moves=0")
    assert len(rows_of(run)) == 6
    assert drawn == [4] * 4 + [2] * 4
