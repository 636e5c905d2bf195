"""The end of a run, however it ends: `summary.json` is written and the trackers are closed."""

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
    """What a run reports at its end: key numbers and rows, and the trackers that get them."""

    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    trackers: list[Tracker] = field(default_factory=list)


@contextmanager
def outcome(directory: Path) -> Iterator[Outcome]:
    """Keep `summary.json` around a run: running, then finished, interrupted or failed. Exceptions pass through."""
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
