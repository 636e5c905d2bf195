"""Errors that a user can correct, with a message that says how; and any error in one line."""

from __future__ import annotations

import errno


class AdfdError(Exception):
    """A mistake in the input, the configuration or the installation.

    The message is one line that names the file or key, the offending value and the remedy. Stages print it without a
    traceback; every other exception is a defect of the program and keeps its traceback.
    """


class OccupiedError(AdfdError):
    """A folder belongs to another configuration or process: nothing may be written there, not even this failure."""


def disk_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


def describe(error: BaseException) -> str:
    """An exception in one line of at most 500 characters; a user's mistake needs no name."""
    if isinstance(error, AdfdError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
