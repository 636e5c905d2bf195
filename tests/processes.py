"""Stages in processes of their own, forked from one that has imported everything: for tests that watch or kill them."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess

IMPORTED = ["adfd.__main__", "adfd.analyze", "adfd.report.run_page", "lightning.fabric", "torchvision", "dlib", "lpips"]
"""What a stage imports, some of it late."""


def _stage(module: str, arguments: list[str], environment: Mapping[str, str]) -> None:
    os.setsid()  # its children die with it
    os.environ.update(environment)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    import torch

    torch.set_num_threads(1)
    sys.argv = [module, *arguments]
    sys.modules["__main__"] = stage = importlib.import_module(module)  # Lightning starts it again for other ranks
    stage.main()


def start(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> BaseProcess:
    """`python -m module arguments`, without waiting seconds for its imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    process = context.Process(target=_stage, args=(module, list(arguments), environment or {}))
    process.start()
    return process


def kill(process: BaseProcess) -> None:
    """End it and its children as a power cut would."""
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
