from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from adfd.faces.people import synthetic_people
from adfd.methods.anchors import Anchors, transformed_anchors
from adfd.models.networks import Networks
from adfd.models.sources import Sources
from adfd.models.tiny import load_tiny
from adfd.stylespace.weights import ChannelWeights
from tests import composing

PAPER_WEIGHTS = ChannelWeights("paper", 500, 0.01, 1.0, to_rgb=False, regions=[], exclude_regions=[], min_share=0.5)
QUICK = ("views=one", "redraws=0", "realign.max_moves=2")
"""For runs whose outputs are only material: half of a tiny output's time goes into its views and draws."""
torch.set_num_threads(1)  # tiny networks are quickest so, and other work on the machine does not stall them


@pytest.fixture(scope="session", autouse=True)
def _hydra_composes_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        composing.patch(patched)
        yield


@pytest.fixture(autouse=True)
def _draws_are_the_same_whichever_test_ran_before() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny() -> Networks:
    return load_tiny()


@pytest.fixture(scope="session")
def sources(tiny: Networks) -> Sources:
    return synthetic_people(tiny, [1, 2, 3], psi=1.0).sources


@pytest.fixture(scope="session")
def anchors(tiny: Networks, sources: Sources) -> Anchors:
    return transformed_anchors(tiny, sources, 60.0, batch_size=3)


def run_in(folder: Path, *overrides: str, stage: str = "__main__", directory: str = "run") -> Path:
    """Run a stage in this process, as its command line would; returns the run or sweep directory below `folder`."""
    module = __import__(f"adfd.{stage}", fromlist=["main"])
    where = "sweep" if "-m" in overrides else "run"
    target = folder / directory
    arguments = ["model=tiny", "hardware=cpu", f"paths.output_dir={folder / 'outputs'}"]
    flags = [item for item in overrides if item.startswith("-")]
    settings = [item for item in overrides if not item.startswith("-")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["adfd", *flags, *arguments, *settings, f"hydra.{where}.dir={target}"])
        GlobalHydra.instance().clear()
        module.main()
    return target


@pytest.fixture
def run_stage(tmp_path: Path) -> Callable[..., Path]:
    """`run_in` the test's own folder."""
    return partial(run_in, tmp_path)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the tiny stack with one output, to be copied before it is spoilt."""
    return run_in(tmp_path_factory.mktemp("made"), "method=transform", "data=faces", "data.seeds=[1]", "logger=none")


def rows_of(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "results.jsonl").read_text().splitlines()]
