"""Progress bars on stderr: updated live on a terminal, every half minute in a log file; other code can watch them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

Watcher = Callable[[str, int, int, str], None]
"""Called at every step of a bar with its title, the steps done, their total, and the postfix shown after the bar."""
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


class _Watched(tqdm):
    """A progress bar that also reports each step to the watcher of the current context."""

    def update(self, n: float | None = 1) -> bool | None:
        shown = super().update(n)
        if watcher := _watcher.get():
            watcher(str(self.desc or ""), int(self.n), int(self.total or 0), str(self.postfix or ""))
        return shown


def bar(iterable: Any = None, **options: Any) -> tqdm:
    """A tqdm bar that updates often on a terminal and rarely in a log file; takes tqdm's options."""
    return _Watched(iterable, mininterval=0.1 if sys.stderr.isatty() else 30, dynamic_ncols=True, **options)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Call `watcher` at every step of every bar in this context."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
