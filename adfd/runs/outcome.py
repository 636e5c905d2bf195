"""The end of a run, successful or not: writes `summary.json` and closes the trackers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adfd.basics.errors import describe
from adfd.basics.files import Row
from adfd.runs.directory import write_summary
from adfd.runs.tracking import Tracker


@dataclass
class Outcome:
    """The results of a run: key numbers and rows, and the trackers that receive them."""

    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    trackers: list[Tracker] = field(default_factory=list)


@contextmanager
def outcome(directory: Path) -> Iterator[Outcome]:
    """Keep the status in `summary.json`: running, then finished, interrupted or failed. Exceptions are re-raised."""
    told, started = Outcome(), time.perf_counter()
    state = {"status": "running"}
    write_summary(directory, state)
    try:
        yield told
        state = {"status": "finished"}
    except (KeyboardInterrupt, SystemExit):  # SystemExit where Slurm requeues the job
        state = {"status": "interrupted"}
        raise
    except Exception as error:
        state = {"status": "failed", "reason": describe(error)}
        raise
    finally:
        summary = state | told.summary | {"seconds": time.perf_counter() - started}
        write_summary(directory, summary)
        for tracker in told.trackers:
            tracker.finish(summary, told.rows, exit_code=int(state["status"] != "finished"))
