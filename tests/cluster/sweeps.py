"""Sweeps in processes of their own, and what they left."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from adfd.runs.directory import read_rows

CLOCK = ("seconds",)


def start(sweep: Path, environment: dict[str, str], *overrides: str) -> subprocess.Popen[str]:
    """A multirun on the tiny networks, from the checkout."""
    common = ("model=tiny", "hardware=cpu", f"paths.output_dir={sweep.parent / 'outputs'}", f"hydra.sweep.dir={sweep}")
    return subprocess.Popen(
        [sys.executable, "-m", "adfd", "-m", *overrides, *common],
        env=environment,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(sweep: Path, environment: dict[str, str], *overrides: str) -> str:
    """A multirun that must end well; what it printed."""
    process = start(sweep, environment, *overrides)
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, out + err
    return out + err


def rows(sweep: Path) -> dict[str, list[str]]:
    """The rows of every job by its hash, without the times that they took; none may be there twice."""
    found = {}
    for job in csv.DictReader((sweep / "sweep.csv").open()):
        lines = read_rows(sweep / job["job"] / "results.jsonl")
        assert max(Counter((r["photo"], r["target_age"], r["output"]) for r in lines).values()) == 1
        kept = [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]
        found[job["hash"]] = sorted(json.dumps(row, sort_keys=True) for row in kept)
    return found


def statuses(sweep: Path) -> dict[str, str]:
    return {job["job"]: job["status"] for job in csv.DictReader((sweep / "sweep.csv").open())}


def done(sweep: Path, job: str) -> int:
    return len(read_rows(sweep / job / "results.jsonl"))
