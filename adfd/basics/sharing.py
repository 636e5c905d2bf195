"""Work that several processes may do: each piece is done once, by the first that gets to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from adfd.basics.errors import OccupiedError
from adfd.basics.files import lock

log = logging.getLogger(__name__)
LOCK = ".lock"


def unfinished(files: Sequence[Path], size: int, read: Callable[[Path], object | None]) -> Iterator[list[Path]]:
    """The files that are still to be made, at most `size` at once; `read` gives None where one is not made.

    A file's folder is locked while the caller makes it. Files that other processes are making come last, when those
    have let go of them, and only if they are still not made.
    """
    waiting = list(files)
    while waiting:
        with ExitStack() as locks:
            mine = list[Path]()
            for file in waiting:
                if len(mine) == size:
                    break
                with suppress(OccupiedError):
                    locks.enter_context(lock(file.parent / LOCK))
                    mine.append(file)
            if left := [file for file in mine if read(file) is None]:
                yield left
            waiting = [file for file in waiting if file not in mine]
        if waiting and not mine:
            log.info("waiting for another process, which is making %s", waiting[0])
            lock(waiting[0].parent / LOCK, wait=True).close()
