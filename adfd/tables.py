"""Results as tables on the terminal. Every table ends with the path of what it shows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from adfd.channels import Channels
from adfd.preparing import PreparedFace
from adfd.runs import Row, RunDirectory


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; numbers are right-aligned, with two decimals."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for i, column in enumerate(columns):
        numeric = any(isinstance(row[i], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(cell, row))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def show_path(label: str, path: Path) -> None:
    """Print a path on a line of its own, unbroken."""
    print(f"{label}: {path}", flush=True)


def show_run(run: RunDirectory, summary: dict[str, Any]) -> None:
    """Rows and means of one run."""
    columns = ("photo", "target_age", "output", "anchor_age", "age", "id_similarity_source", "id_similarity_anchor")
    titles = ("photo", "target", "output", "anchor reads", "reads", "id to source", "id to anchor", "steps", "note")
    rows = [[*(row[key] for key in columns), row["steps"], row["reason"]] for row in run.rows]
    show(f"{run.rows[0]['method'] if run.rows else 'no'} outputs", titles, rows)
    if summary["skipped_photos"]:
        show("photos left out", ("photo", "reason"), list(summary["skipped_photos"].items()))
    show_path("run directory", run.path)


def show_photos(faces: Sequence[PreparedFace], path: Path) -> None:
    """What became of every photo."""
    yes = {True: "yes", False: ""}
    rows = [[f.name, f.status, yes[f.aligned], f.id_distance, f.pixel_error, yes[f.cached], f.reason] for f in faces]
    show("photos", ("photo", "status", "was aligned", "id distance", "pixel error", "from cache", "reason"), rows)
    show_path("table", path)


def show_channels(channels: Channels, path: Path) -> None:
    """Statistics of an analysis."""
    rows = [[key, getattr(channels, key)] for key in ("generator", "n_samples", "n_pairs", "seed", "psi", "age_r2")]
    for key in ("coef_age", "coef_id"):
        coefficients = getattr(channels, key)
        rows += [[f"{key} mean", coefficients.mean().item()], [f"{key} max", coefficients.max().item()]]
    show("channel analysis", ("", "value"), rows)
    show_path("channels", path)


def show_sweep(jobs: Sequence[Row], path: Path) -> None:
    """One row per job of a sweep, with the overrides in which the jobs differ."""
    common = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    columns = {
        "job": "job",
        "status": "status",
        "outputs": "outputs",
        "failures": "failures",
        "age_error": "age error",
        "id_similarity_source": "id to source",
        "id_similarity_anchor": "id to anchor",
        "harmonic": "harmonic",
        "diversity": "diversity",
        "seconds": "seconds",
    }
    rows = []
    for job in jobs:
        differing = "\n".join(override for override in job["overrides"] if override not in common)
        rows.append([job["job"], differing, *(job.get(key) for key in list(columns)[1:])])
    show(f"sweep {' '.join(sorted(common))}", ["job", "overrides", *list(columns.values())[1:]], rows)
    show_path("table", path)
