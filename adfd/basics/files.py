"""Files that survive a kill: written in one piece, locked while in use, one JSON object a line."""

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
    """Hold a file until it is closed or the process ends, however it ends.

    Raises OccupiedError naming the process that holds it, unless told to wait for that one.
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
    """Whether some process holds this file."""
    try:
        lock(path).close()
    except OccupiedError:
        return True
    return False


def json_line(row: Row) -> bytes:
    return json.dumps(finite(row), ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


def append_line(path: Path, row: Row) -> None:
    """Append one JSON line in a single write, so that ranks may share a file and a kill leaves whole lines."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, json_line(row))
    finally:
        os.close(handle)


def end_line(path: Path) -> None:
    """End a last line that a kill or a full disk cut short, so that the next row does not join it."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")


def read_rows(path: Path) -> list[Row]:
    """Rows of a JSON lines file, without a last line that a full disk cut short; none where there is no file.

    A line ends at a line feed and nowhere else: a name may hold other characters that end a line of text. A line that
    is no JSON object is none.
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
    """The text with a space for every character that cannot be printed, such as a line end or a control character."""
    return "".join(character if character.isprintable() else " " for character in text)


def cell(text: str) -> str:
    """Text as a cell of a CSV file: no spreadsheet takes it for a formula, and every character can be written."""
    text = text.encode(errors="backslashreplace").decode()
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def finite(value: Any) -> Any:
    """The same value with null in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Write a file under another name and move it into place when it is whole."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as stream:
        try:
            yield stream
        except BaseException:
            os.unlink(stream.name)
            raise
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, path)
