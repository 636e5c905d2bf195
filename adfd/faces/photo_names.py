"""Names of photos and of the faces in them: unique, safe in file names, and stable."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Sequence
from itertools import count
from pathlib import Path

from adfd.basics.files import one_line

MAX_NAME = 160
"""Largest length of a photo's name in bytes: file systems allow 255, and the names of a run's files begin with it."""


def below(photo: Path, root: Path | None) -> Path:
    """A photo's path below `root`, the folder that was searched; only its file name where it lies elsewhere."""
    return photo.relative_to(root) if root and photo.is_relative_to(root) else Path(photo.name)


def unique_names(photos: Sequence[Path], root: Path | None = None) -> list[str]:
    """A unique name for every photo: its folders below `root` and its file name without suffix, joined by __.

    Made safe by `safe_name`, and followed by #2, #3 ... where the name is taken. Names that differ only in case count
    as equal, since some file systems do not distinguish them.
    """
    stems = [safe_name("__".join([*below(photo, root).parent.parts, photo.stem])) for photo in photos]
    taken, names = {stem.casefold() for stem in stems}, list[str]()
    first = {stem.casefold(): i for i, stem in reversed(list(enumerate(stems)))}
    for i, stem in enumerate(stems):
        name = stem if first[stem.casefold()] == i else next(_numbered(stem, taken))
        taken.add(name.casefold())
        names.append(name)
    return names


def safe_name(stem: str) -> str:
    """A file name's stem, changed only where it is too long or has unprintable characters.

    A changed name ends in a hash of the original, so that it is unique and stable.
    """
    safe = one_line(stem).replace("/", "_").encode()
    if safe.decode() == stem and len(safe) <= MAX_NAME:
        return stem
    digest = hashlib.sha256(stem.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{safe[: MAX_NAME - 9].decode(errors='ignore')}~{digest}"


def face_names(name: str, photo_names: Sequence[str]) -> Iterator[str]:
    """Names for the faces of the photo `name`: that name, then it with #2, #3 ..., skipping names of other photos."""
    yield name
    yield from _numbered(name, {other.casefold() for other in photo_names})


def _numbered(name: str, taken: Container[str]) -> Iterator[str]:
    return (f"{name}#{n}" for n in count(2) if f"{name}#{n}".casefold() not in taken)
