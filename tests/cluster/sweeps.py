"""Sweeps in processes of their own, and what they left."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from adfd.runs.directory import read_rows

CLOCK = ("seconds",)


CHECKOUT = Path(__file__).parents[2]


def start(sweep: Path, environment: dict[str, str], *overrides: str, cwd: Path = CHECKOUT) -> subprocess.Popen[str]:
    """A multirun on the tiny networks; where `sweep` is relative, to `cwd`."""
    common = ("model=tiny", "hardware=cpu", f"paths.output_dir={sweep.parent / 'outputs'}", f"hydra.sweep.dir={sweep}")
    return subprocess.Popen(
        [sys.executable, "-m", "adfd", "-m", *overrides, *common],
        env=environment,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(sweep: Path, environment: dict[str, str], *overrides: str) -> str:
    """A multirun that must end well; what it printed."""
    code, out, err = finish(start(sweep, environment, *overrides))
    assert code == 0, out + err
    return out + err


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit code, and what it printed; it is killed where it does not end."""
    try:
        out, err = process.communicate(timeout=900)
    finally:
        process.kill()
    return process.returncode, out, err


def kill_job(folder: Path) -> None:
    """End the process that holds a run directory as the kernel does where memory is short."""
    words = (folder / ".lock").read_text().split()
    os.kill(int(words[words.index("process") + 1]), signal.SIGKILL)


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
