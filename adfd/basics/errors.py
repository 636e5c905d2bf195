"""Errors that a user can correct, whose messages say how; and the formatting of any error as one line."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from functools import wraps

INTERRUPTED = 130  # the shell's exit code for Ctrl-C


class AdfdError(Exception):
    """A mistake in the input, the configuration or the installation.

    The message is one line that names the file or key, the offending value and the remedy. Stages print it without a
    traceback; every other exception is a defect of the program and keeps its traceback.
    """


class OccupiedError(AdfdError):
    """A folder belongs to another configuration or process: nothing may be written there, not even this failure."""


def command(main: Callable[[], int]) -> Callable[[], int]:
    """Decorator of a command's `main`, which returns an exit code.

    For AdfdError and OSError it prints the message on one line and returns 1; for Ctrl-C it prints a line and returns
    130.
    """

    @wraps(main)
    def told() -> int:
        try:
            return main()
        except (AdfdError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("interrupted; the same command goes on where this one was", file=sys.stderr)
            return INTERRUPTED

    return told


UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def unwritable(error: BaseException) -> bool:
    """True where nothing more can be written: the disk is full or has become read-only."""
    return isinstance(error, OSError) and error.errno in UNWRITABLE


def describe(error: BaseException) -> str:
    """An exception as one line of at most 500 characters; AdfdError without its class name."""
    if isinstance(error, AdfdError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
