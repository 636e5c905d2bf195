"""The published coefficients: read right, without pandas, and without running what a pickle may hold."""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adfd.basics import pickles
from adfd.basics.errors import AdfdError
from adfd.methods.diversify import Perturbation, perturb
from adfd.models.age_path import LatentAgePath
from adfd.models.networks import Networks
from adfd.stylespace import published
from adfd.stylespace.layout import stylegan2
from adfd.stylespace.statistics import Channels
from adfd.stylespace.weights import channel_weights
from tests.conftest import PAPER_WEIGHTS

PICKLE = Path(__file__).parents[1] / "golden" / "reference_channels.pkl"
GENERATOR = published.GENERATOR


def test_equals_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)  # whoever imports it now fails
    with np.load(PICKLE.with_suffix(".npz")) as expected:
        table = published.read(PICKLE)
        assert set(table) == set(expected)
        for key, values in table.items():
            assert values.shape == (6048,)
            assert np.array_equal(values.astype(expected[key].dtype), expected[key])


def test_becomes_channels_of_stylegan2() -> None:
    channels, space = Channels.load(PICKLE, GENERATOR), stylegan2()
    with np.load(PICKLE.with_suffix(".npz")) as expected:
        for key in ("coef_age", "coef_id"):
            assert torch.equal(getattr(channels, key)[expected["index"]], torch.from_numpy(expected[key]))
    weights = channel_weights(channels, space, PAPER_WEIGHTS)
    assert (weights[space.conv_mask].min(), weights[space.conv_mask].max()) == (0, 1)
    assert (weights[space.to_rgb_mask] == 0).all()
    assert channels.s_mean is None
    assert channels.age_year is None
    assert channels.n_samples is None


def test_another_generator_is_refused_by_name() -> None:
    with pytest.raises(AdfdError, match="made for generator stylegan2-ffhq-1024, not tiny-0"):
        Channels.load(PICKLE, "tiny-0")


def test_what_the_published_file_lacks(tiny: Networks) -> None:
    assert tiny.channels is not None
    lacking = replace(tiny.channels, s_mean=None, age_year=None)
    networks = Networks(tiny.generator, tiny.age, tiny.embed, tiny.gender, tiny.perceptual, channels=lacking)
    style = tiny.affine(tiny.generator.w_avg[None])[0]
    z, s = torch.randn(1, 32), tiny.affine(tiny.generator.w_avg[None])
    moved = perturb(networks, s, z, Perturbation(1.0, True, "weights", PAPER_WEIGHTS, False)) - s
    torch.testing.assert_close(
        moved, channel_weights(tiny.channels, tiny.space, PAPER_WEIGHTS) * (tiny.affine(tiny.mapping(z)) - style)
    )
    with pytest.raises(AdfdError, match=r"holds no age path.*channels=fitted after: python -m adfd\.analyze"):
        LatentAgePath(lacking)


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def rebuilding(method: str) -> bytes:
    """A pickle that reaches for an attribute of a permitted name, and calls it."""
    dotted = f"DataFrame.{method}".encode()
    return b"\x80\x04\x8c\x11pandas.core.frame\x8c" + bytes([len(dotted)]) + dotted + b"\x93)R."


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch {}",)),
        (subprocess.check_call, (["touch", "{}"],)),
        (builtins.eval, ("open('{}', 'w').close()",)),
        (builtins.exec, ("open('{}', 'w').close()",)),
        (builtins.getattr, (slice(1), "start")),
        (builtins.open, ("{}", "w")),
        (builtins.__import__, ("this",)),
        (np.fromfile, ("{}",)),
    ],
)
def test_nothing_of_a_hostile_pickle_is_run(
    tmp_path: Path, function: Callable, arguments: tuple, protocol: int
) -> None:
    mark = tmp_path / "mark"
    filled = [
        a.format(mark) if isinstance(a, str) else [p.format(mark) for p in a] if isinstance(a, list) else a
        for a in arguments
    ]
    bad = tmp_path / "correlation_analysis.pkl"
    bad.write_bytes(pickle.dumps({"COEF_AGE": Calls(function, *filled)}, protocol))
    with pytest.raises(AdfdError, match=r"is not the correlation_analysis\.pkl.*asks for .*nothing in it") as error:
        Channels.load(bad, GENERATOR)
    assert "\n" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html>quota exceeded</html>",
        PICKLE.read_bytes()[:100_000],
        PICKLE.read_bytes().replace(b"COEF_AGE", b"COEF_AGF"),
        PICKLE.read_bytes().replace(b"\x8c\x02f8", b"\x8c\x02O8", 1),
        pickle.dumps({"COEF_AGE": [1.0]}),
        pickle.dumps(np.zeros(3), 0),
        rebuilding("__init__.__globals__"),
        b"\x80\x04\x8c\x05outer\x94Q.",  # a persistent id
        b"\x80\x02\x82\x01.",  # an extension code
        b"\x80\x04N" + b"r\xff\xff\xff\x7f.",  # a memo of 2^31 entries
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(AdfdError, match=r"a\.pkl is not the correlation_analysis\.pkl") as error:
        Channels.load(tmp_path / "a.pkl", GENERATOR)
    assert "\n" not in str(error.value)


def test_a_hostile_file_spoils_no_later_one(tmp_path: Path) -> None:
    spoil = b"\x80\x04\x8c\x12numpy.core.numeric\x8c\x0b_frombuffer\x93(N}\x8c\x0c__defaults__N\x73tb."
    (tmp_path / "a.pkl").write_bytes(spoil)
    with pytest.raises(AdfdError):
        published.read(tmp_path / "a.pkl")
    assert pickles.numbers.__defaults__ == (-1, "C")


def test_missing_and_oversized_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(AdfdError, match=r"absent\.pkl does not exist; copy correlation_analysis\.pkl"):
        Channels.load(tmp_path / "absent.pkl", GENERATOR)
    with (tmp_path / "big.pkl").open("wb") as file:
        file.truncate(published.MAX_BYTES + 1)
    with pytest.raises(AdfdError, match="larger than 16 MiB"):
        Channels.load(tmp_path / "big.pkl", GENERATOR)
