"""Writing files in the background while the device makes the next samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

THREADS = 4
"""A GPU makes a picture in a quarter of the time that one thread takes to encode it (docs/speed.md)."""
MOST = 16
"""Number of jobs that may wait, since each holds a picture."""


class Background:
    """Runs jobs in threads, and what follows each of them in the caller's thread, in the order of `add`."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "writing")
        self._jobs: deque[tuple[Future, Callable[[Any], None]]] = deque()

    def add(self, job: Callable[[], Any], then: Callable[[Any], None] = lambda _: None) -> None:
        """Start `job`; `then` is called with its result at a later `add` or `wait`.

        Waits where too many jobs are unfinished. Raises what an earlier job or its `then` raised.
        """
        self._jobs.append((self._threads.submit(job), then))
        while self._jobs and (self._jobs[0][0].done() or len(self._jobs) > MOST):
            self._follow()

    def wait(self) -> None:
        """Wait for all jobs. Raises the first error of theirs, after all that did not fail were followed up."""
        failed: Exception | None = None
        while self._jobs:
            try:
                self._follow()
            except Exception as error:
                failed = failed or error
        if failed:
            raise failed

    def _follow(self) -> None:
        job, then = self._jobs.popleft()
        then(job.result())
