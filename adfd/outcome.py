"""What becomes of a run: `summary.json`, and its trackers told, however it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adfd.editing import describe
from adfd.runs import Row, atomic, finite
from adfd.tracking import Tracker


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
    save(directory, state)
    try:
        yield told
        state = {"status": "finished"}
    except KeyboardInterrupt:
        state = {"status": "interrupted"}
        raise
    except Exception as error:
        state = {"status": "failed", "reason": describe(error)}
        raise
    finally:
        summary = state | told.summary | {"seconds": time.perf_counter() - started}
        save(directory, summary)
        for tracker in told.trackers:
            tracker.finish(summary, told.rows, exit_code=int(state["status"] != "finished"))


def save(directory: Path, summary: dict[str, Any]) -> None:
    with atomic(directory / "summary.json") as stream:
        stream.write(json.dumps(finite(summary), indent=2).encode())
