"""`hardware.compile=true`: the same pictures and gradients, and one line where there is no compiler."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from adfd.basics.errors import AdfdError
from adfd.models.compiled import compile_generator
from adfd.models.networks import Networks
from adfd.models.tiny import load_tiny


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADFD_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    return tmp_path


@pytest.mark.thorough
def test_what_is_compiled_is_what_was_there(monkeypatch: pytest.MonkeyPatch, tiny: Networks, cache: Path) -> None:
    """With the backend that compiles nothing, for what is wrapped and warmed up; the real one is slow."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: real(function, backend="aot_eager", **options))
    networks = load_tiny()
    plain = networks.generator.synthesis_pooled  # type: ignore[attr-defined]
    compile_generator(networks)
    assert networks.generator.synthesis_pooled is not plain  # type: ignore[attr-defined]
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(cache / "compiled")
    s = tiny.affine(tiny.generator.w_avg[None] + 0.1).requires_grad_()
    for one in (networks, tiny):
        (gradient,) = torch.autograd.grad(one.synthesis_pooled(s).square().sum(), s)
        if one is networks:
            compiled = gradient
    torch.testing.assert_close(compiled, gradient)


def test_without_a_compiler_there_is_one_line_and_the_way_round(
    monkeypatch: pytest.MonkeyPatch, tiny: Networks, cache: Path
) -> None:
    def broken(function: Callable, **options: object) -> Callable:
        def call(*_: object) -> None:
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nand more")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    networks = load_tiny()
    with pytest.raises(AdfdError, match=r"No working C\+\+ compiler found\); it takes .*hardware.compile=false"):
        compile_generator(networks)
    s = tiny.affine(tiny.generator.w_avg[None])
    assert torch.equal(networks.synthesis_pooled(s), tiny.synthesis_pooled(s))  # goes on as it was
