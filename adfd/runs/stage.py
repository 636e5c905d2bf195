"""Error handling common to all stages: one-line messages, Ctrl-C, and sweeps that continue after a failed job."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from adfd.basics import progress, threads
from adfd.basics.errors import INTERRUPTED, AdfdError, OccupiedError, describe
from adfd.runs.directory import read_summary, write_summary

log = logging.getLogger(__name__)

TRACED = os.environ.get("HYDRA_FULL_ERROR") == "1"
"""True where the user asked for tracebacks."""

Result = TypeVar("Result")


def run(job: Callable[[DictConfig], Result], cfg: DictConfig) -> Result | None:
    """Run a stage's job and write its status to `summary.json`; returns the job's result.

    An error that the user can correct ends the process with a one-line message and exit code 1; Ctrl-C and SIGTERM end
    it with exit code 130. In a multirun a failed job is recorded for the sweep's summary, and the next one starts.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    warnings.filterwarnings("ignore", module="lightning")
    hydra = HydraConfig.get()
    alone = hydra.mode == RunMode.RUN
    try:
        with progress.bar(total=1, desc="load libraries", unit="", leave=False) as bar:  # seconds on a cold disk
            threads.limit(threads.wanted({} if alone else plain_launcher(hydra)))
            bar.update()
        result = job(cfg)
        if not alone:
            record("finished")
        return result
    except KeyboardInterrupt:
        record("interrupted", "stopped by Ctrl-C or SIGTERM")
        log.warning("interrupted; what was finished is in %s", hydra.runtime.output_dir)
        sys.exit(INTERRUPTED)
    except (AdfdError, OSError) as error:  # errors that the user can correct; an OSError names the file and the problem
        if not isinstance(error, OccupiedError):
            record("failed", describe(error))
        if alone and not TRACED:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        if alone:
            raise
        log.error("%s", error)
    except Exception as error:
        record("failed", describe(error))
        if alone:
            raise
        log.exception("the job failed")
    return None


def plain_launcher(hydra: Any) -> dict[str, Any]:
    """A sweep's launcher settings as plain containers."""
    return OmegaConf.to_container(hydra.launcher, resolve=True)  # type: ignore[return-value]


def record(status: str, reason: str = "") -> None:
    """Write the job's status and the reason to its `summary.json`."""
    directory = Path(HydraConfig.get().runtime.output_dir)
    with suppress(OSError):  # the disk itself may have failed
        write_summary(directory, read_summary(directory) | {"status": status, "reason": reason})
