"""What becomes of a run: `summary.json`, and its trackers told, however it ends."""

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
    """What the run has to tell when it ends: its key numbers, its rows, and who follows it."""

    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    trackers: list[Tracker] = field(default_factory=list)


@contextmanager
def outcome(directory: Path) -> Iterator[Outcome]:
    """Around a run: status running; then finished, interrupted, or failed with its reason. Nothing is swallowed."""
    told, started = Outcome(), time.perf_counter()
    state = {"status": "running"}
    write_summary(directory, state)
    try:
        yield told
        state = {"status": "finished"}
    except (KeyboardInterrupt, SystemExit):  # the latter where Slurm starts the job again
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
