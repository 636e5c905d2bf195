"""Files that stay whole when the process is killed: atomic writes, file locks, JSON lines."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from adfd.basics.errors import OccupiedError

log = logging.getLogger(__name__)

Row = dict[str, Any]


def lock(path: Path, wait: bool = False) -> IO[str]:
    """Lock a file until the returned stream is closed or the process ends, however it ends.

    With `wait`, block until the lock is free; otherwise raise OccupiedError naming the process that holds it.
    """
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.seek(0)
        raise OccupiedError(f"{path.parent} is in use by {file.read()}; wait for it or end it") from None
    except OSError as error:
        log.warning("%s cannot be locked (%s): start nothing else there until this has ended", path.parent, error)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def held(path: Path) -> bool:
    """True where some process holds the lock on this file."""
    try:
        lock(path).close()
    except OccupiedError:
        return True
    return False


def json_line(row: Row) -> bytes:
    return json.dumps(finite(row), ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


def append_line(path: Path, row: Row) -> None:
    """Append one JSON line in a single write: ranks can share a file, and a killed process leaves whole lines."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, json_line(row))
    finally:
        os.close(handle)


def end_line(path: Path) -> None:
    """Add a line feed after a truncated last line (killed process, full disk), so that the next row is kept apart."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")


def read_rows(path: Path) -> list[Row]:
    """Rows of a JSON lines file; an empty list where the file is missing.

    Lines that are not a JSON object, such as a truncated last one, are skipped. Lines end at a line feed only: a name
    may contain other characters that Python treats as line ends.
    """
    rows = []
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested beyond any row
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def one_line(text: str) -> str:
    """The text with every unprintable character, such as a line end or a control character, replaced by a space."""
    return "".join(character if character.isprintable() else " " for character in text)


def cell(text: str) -> str:
    """Text as a cell of a CSV file, escaped so that it encodes as UTF-8 and no spreadsheet reads it as a formula."""
    text = text.encode(errors="backslashreplace").decode()
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def finite(value: Any) -> Any:
    """The same value with NaN and infinity, which JSON lacks, replaced by None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A stream to a temporary file that is moved to `path` when the block ends without an error."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as stream:
        try:
            yield stream
        except BaseException:
            os.unlink(stream.name)
            raise
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, path)
