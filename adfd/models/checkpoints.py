"""PyTorch weight files that a user downloads: find them, read them, load them into networks; errors in one line."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adfd.basics.errors import AdfdError


@dataclass(frozen=True)
class Checkpoint:
    """A weight file that adfd may not distribute: its content, size and place of publication."""

    key: str
    """Its key in the `model` config."""
    file: str
    what: str
    size: str
    source: str

    def describe(self, path: Path) -> str:
        return f"{path} ({self.what}, {self.size}, from {self.source})"


def find(paths: Mapping[Checkpoint, Path]) -> None:
    """Raise AdfdError where files are missing; the message names all of them, their content and where to get them."""
    missing = [(checkpoint, path) for checkpoint, path in paths.items() if not path.is_file()]
    if missing:
        listed = "; ".join(checkpoint.describe(path) for checkpoint, path in missing)
        keys = ", ".join(f"model.{checkpoint.key}" for checkpoint, _ in missing)
        count = "1 file of weights is" if len(missing) == 1 else f"{len(missing)} files of weights are"
        raise AdfdError(f"{count} missing: {listed}; put them there or set {keys}")


def read(path: Path) -> Any:
    """Load a file: tensors in plain containers, memory-mapped instead of copied where the format allows it.

    Raises AdfdError with the reason where the file is missing, empty, a web page, truncated or not a weight file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(512).lstrip()
    except OSError as error:
        raise AdfdError(f"{path} cannot be read: {error.strerror}") from error
    if size == 0:
        raise AdfdError(f"{path} is an empty file; download it again")
    if start.startswith(b"<"):
        raise AdfdError(
            f"{path} is a web page, not weights: the file host's quota or confirmation page; download it in a browser"
        )
    zipped = start.startswith(b"PK")
    if zipped and not zipfile.is_zipfile(path):
        raise AdfdError(f"{path} is truncated: it ends after {size / 1e6:.1f} MB without its index; download it again")
    try:
        (_check_records if zipped else _check_storages)(path, size)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # unpickling raises errors of any type on other data
        reason = (str(error).strip() or type(error).__name__).split("\n")[0][:150]
        raise AdfdError(
            f"{path} is not a file of PyTorch weights, or truncated ({size / 1e6:.1f} MB: {reason}); download it again"
        ) from error


def _check_records(path: Path, size: int) -> None:
    """Raise ValueError where a file's records are compressed: PyTorch's are not, those of a zip bomb are."""
    with zipfile.ZipFile(path) as file:
        if any(record.compress_type != zipfile.ZIP_STORED or record.file_size > size for record in file.infolist()):
            raise ValueError("its records are packed, which PyTorch's are not")


def _check_storages(path: Path, size: int) -> None:
    """Raise ValueError where a file in PyTorch's old format claims more numbers than it has bytes.

    Its first four pickles are a magic number, a version, system information, and the content, which states the sizes
    of the storages; the storages' numbers follow.
    """
    claimed, last = 0, 0
    with path.open("rb") as file:
        for _ in range(4):
            for opcode, argument, _ in pickletools.genops(file):
                if "INT" in opcode.name or "LONG" in opcode.name:
                    last = argument if isinstance(argument, int) and "PUT" not in opcode.name else last
                if opcode.name == "BINPERSID":
                    claimed += last
                if claimed > size:
                    raise ValueError(f"it claims {claimed} numbers and has {size} bytes")


def entry(content: Any, key: str | None, path: Path, kind: type = Mapping) -> Any:
    """`content[key]` of a file's content, or `content` where `key` is None. Raises AdfdError where it is no `kind`."""
    value = content if key is None else content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(value, kind):
        found = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
        expected = f"an entry {key}" if key else "a state dict"
        raise AdfdError(f"{path} holds another network: expected {expected}, found {found}")
    return value


def part(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The entries whose keys start with a prefix, which is removed from the keys."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def fill(network: nn.Module, state: Mapping[str, Any], path: Path, prefix: str = "") -> None:
    """Assign a file's tensors to the network's parameters as float32; tensors that are float32 are not copied.

    `prefix` precedes the network's keys in the file and appears only in messages. Raises AdfdError naming the first
    keys that are missing, unexpected or of another shape.
    """
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    misfits = {
        "missing": [key for key in expected if key not in found],
        "not expected": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} {list(found[key])} instead of {list(expected[key])}"
            for key in expected
            if key in found and found[key] != expected[key]
        ],
    }
    if any(misfits.values()):
        reasons = [f"{some(prefix + key for key in keys)} {kind}" for kind, keys in misfits.items() if keys]
        raise AdfdError(f"{path} holds another network, or one of another size: {'; '.join(reasons)}")
    full = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    network.load_state_dict(full, assign=True)


def some(names: Iterable[str], most: int = 3) -> str:
    """The first `most` names as text, followed by the number of the others."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
