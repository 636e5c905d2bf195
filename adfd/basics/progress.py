"""Progress bars on stderr: lively on a terminal, a line every half minute in a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def bar(iterable: Any = None, **options: Any) -> tqdm:
    """A tqdm bar whose pace suits where it is read."""
    return tqdm(iterable, mininterval=0.1 if sys.stderr.isatty() else 30, dynamic_ncols=True, **options)
