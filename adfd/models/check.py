"""Check which of the weight files that a user downloads are present and intact.

python -m adfd.models.check                                  the files of model=sam in pretrained_models/
python -m adfd.models.check model=stylegan2 generator=PATH
python -m adfd.models.check folder=/data/weights sam=/elsewhere/sam_ffhq_aging.pt
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from adfd.basics.errors import AdfdError
from adfd.models import fetch, lpips_alex, sam
from adfd.models.checkpoints import Checkpoint

STACKS = {"sam": (sam.SAM, sam.ARCFACE, sam.DEX), "stylegan2": (sam.STYLEGAN2,)}
READERS: dict[Checkpoint, Callable[[Path], Any]] = {
    sam.SAM: sam.read_sam,
    sam.ARCFACE: sam.read_arcface,
    sam.DEX: sam.read_dex,
    sam.ALEXNET: lpips_alex.read_alexnet,
    sam.STYLEGAN2: sam.read_stylegan2,
}
FOLDER = Path(__file__).resolve().parents[2] / "pretrained_models"


def locate(settings: dict[str, str]) -> dict[Checkpoint, Path]:
    """The path at which each file of a stack is expected.

    `settings` may give `model`, `folder`, and the path of a file by its key, with or without the prefix `model.`;
    `model` and `folder` are removed from it. Raises AdfdError for an unknown model or key.
    """
    model, folder = settings.pop("model", "sam"), Path(settings.pop("folder", FOLDER))
    if model not in STACKS:
        raise AdfdError(f"model must be one of {', '.join(STACKS)}, got {model}; others come in pip packages")
    stack = (*STACKS[model], sam.ALEXNET)
    keys = [checkpoint.key for checkpoint in stack]
    for key in settings:
        if key.removeprefix("model.") not in keys:
            raise AdfdError(f"there is no setting {key}; there are model, folder, {', '.join(keys)}")
    given = {key.removeprefix("model."): Path(value) for key, value in settings.items()}
    named = [checkpoint for checkpoint in stack if checkpoint != sam.ALEXNET or sam.ALEXNET.key in given]
    return {checkpoint: given.get(checkpoint.key, folder / checkpoint.file) for checkpoint in named}


def verdict(checkpoint: Checkpoint, path: Path) -> tuple[str, str]:
    """A file's size in MB as text, and "ok" or the reason why it cannot be used."""
    if not path.is_file():
        return "", f"missing: {checkpoint.what}, {checkpoint.size}, from {checkpoint.source}"
    size = f"{path.stat().st_size / 1e6:.0f} MB"
    try:
        READERS[checkpoint](path)
    except AdfdError as error:
        return size, str(error).removeprefix(f"{path} ")
    return size, "ok"


def fetched(file: fetch.FetchedFile) -> str:
    """ "ok", or the reason why a file of the cache folder cannot be used."""
    try:
        file.locate()
    except AdfdError as error:
        return str(error).removeprefix(f"{file.path} ")
    return "ok"


def main(arguments: list[str]) -> int:
    """Print a table of the files; returns exit code 0 where all are intact, otherwise 1."""
    if bad := [argument for argument in arguments if "=" not in argument]:
        print(__doc__ if bad[0] in ("-h", "--help") else f"error: expected key=value, got {bad[0]}")
        return int(bad[0] not in ("-h", "--help"))
    try:
        paths = locate(dict(argument.split("=", 1) for argument in arguments))
    except AdfdError as error:
        print(f"error: {error}")
        return 1
    table = Table(box=box.SIMPLE)
    for column in ("file", "expected at", "size", "state"):
        table.add_column(column, overflow="fold")
    states = []
    for checkpoint, path in paths.items():
        size, state = verdict(checkpoint, path)
        states.append(state)
        table.add_row(checkpoint.key, str(path), size, state, style=None if state == "ok" else "red")
    if sam.ALEXNET not in paths:
        table.add_row("lpips", str(fetch.ALEXNET.path), "", fetched(fetch.ALEXNET))  # optional
    Console().print(table)
    return int(any(state != "ok" for state in states))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
