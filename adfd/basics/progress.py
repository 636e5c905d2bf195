"""Progress bars on stderr: lively on a terminal, a line every half minute in a log file; and for who else watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

Watcher = Callable[[str, int, int, str], None]
"""Called at every step of a bar with its title, the steps that are done, how many there are, and what else it shows."""
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


class _Watched(tqdm):
    """A bar that also tells the watcher of its context."""

    def update(self, n: float | None = 1) -> bool | None:
        shown = super().update(n)
        if watcher := _watcher.get():
            watcher(str(self.desc or ""), int(self.n), int(self.total or 0), str(self.postfix or ""))
        return shown


def bar(iterable: Any = None, **options: Any) -> tqdm:
    """A tqdm bar whose pace suits where it is read."""
    return _Watched(iterable, mininterval=0.1 if sys.stderr.isatty() else 30, dynamic_ncols=True, **options)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell `watcher` of every bar's steps in this context."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
