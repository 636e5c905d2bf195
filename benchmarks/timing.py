"""Timing two ways of doing one thing against each other on a machine that may be busy with others."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from adfd.basics.files import Row


def side_by_side(ways: Mapping[str, Callable[[], object]], rounds: int, warm: bool = True) -> dict[str, float]:
    """Median CPU seconds of each way, by turns, after one turn for warming up unless that takes minutes.

    CPU time of one thread, since the wall clock also counts what others do on the machine.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(0 if warm else 1, rounds + 1):
        for name, way in ways.items():
            started = time.process_time()
            way()
            if turn:
                taken[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in taken.items()}


@contextmanager
def counted_waits() -> Iterator[list[str]]:
    """Collects each time the host asks a tensor for its value, which on a GPU waits for all that is queued."""
    asked: list[str] = []
    plain = {name: getattr(torch.Tensor, name) for name in ("item", "tolist", "__bool__", "__float__", "__int__")}

    def watched(name: str) -> Callable[..., Any]:
        def ask(self: torch.Tensor, *arguments: Any) -> Any:
            asked.append(name)
            return plain[name](self, *arguments)

        return ask

    for name in plain:
        setattr(torch.Tensor, name, watched(name))
    try:
        yield asked
    finally:
        for name, method in plain.items():
            setattr(torch.Tensor, name, method)


def machine() -> Row:
    """What the figures depend on besides the code."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    named = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return {
        "cpu": named[0] if named else platform.processor(),
        "cores": os.cpu_count(),
        "avx512": "avx512f" in flags,
        "threads": torch.get_num_threads(),
        "load_of_others": round(os.getloadavg()[0] - 1, 1),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
