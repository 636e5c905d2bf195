"""Command "dashboard": write the W&B workspace of a sweep. `adfd dashboard --entity E --sweep DIR [--dry-run]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from adfd.basics.errors import AdfdError, command
from adfd.report.workspace import as_json, workspace


@command
def main() -> int:
    """Save the workspace and print its address, or with --dry-run its JSON. Exit code 1 with a message on failure."""
    parser = argparse.ArgumentParser(prog="adfd dashboard", description="Write the W&B workspace of a sweep.")
    parser.add_argument("--entity", required=True, help="the W&B user or team")
    parser.add_argument("--project", default="adfd", help="as in logger.project")
    parser.add_argument("--sweep", type=Path, help="directory of the sweep; without it, all runs of the project")
    parser.add_argument("--dry-run", action="store_true", help="print it as JSON; no network is used")
    asked = parser.parse_args()
    made = workspace(asked.entity, asked.project, asked.sweep.name if asked.sweep else "adfd", sweep_id(asked.sweep))
    print(as_json(made) if asked.dry_run else made.save().url)
    return 0


def sweep_id(sweep: Path | None) -> str | None:
    """The id that the W&B runs of a sweep carry. Raises AdfdError where the directory is no sweep's."""
    if sweep is None:
        return None
    if not (sweep / "sweep_id").is_file():
        raise AdfdError(f"{sweep} has no file sweep_id; give the directory of a sweep, such as outputs/sweeps/NAME")
    return (sweep / "sweep_id").read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
