"""Tables of results on the terminal, each followed by the path of its file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from adfd.basics.files import Row, one_line

if TYPE_CHECKING:
    from adfd.faces.prepared import PreparedFace
    from adfd.runs.directory import RunDirectory
    from adfd.stylespace.layout import StyleSpace
    from adfd.stylespace.statistics import Channels


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; numbers are right-aligned, with two decimals."""
    table = Table(title=Text(cell(title)), title_justify="left", title_style="italic", header_style="bold")
    for i, column in enumerate(columns):
        numeric = any(isinstance(row[i], int | float) for row in rows)
        table.add_column(Text(cell(column)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))  # as text: names and headings may look like markup
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else "\n".join(map(one_line, str(value).split("\n")))


def show_path(label: str, path: Path) -> None:
    """Print a path on a line of its own, without line breaks."""
    print(f"{label}: {path}", flush=True)


def show_run(run: RunDirectory, summary: dict[str, Any]) -> None:
    """Print the rows of one run, the photos left out, and the numbers of failures."""
    columns = ("photo", "target_age", "output", "anchor_age", "age", "id_similarity_source", "id_similarity_anchor")
    titles = ("photo", "target", "output", "anchor reads", "reads", "id to source", "id to anchor", "steps", "note")
    rows = [[*(row[key] for key in columns), row["steps"], note(row)] for row in run.rows]
    show(f"{run.rows[0]['method'] if run.rows else 'no'} outputs", titles, rows)
    if summary["skipped_photos"]:
        show("photos left out", ("photo", "reason"), list(summary["skipped_photos"].items()))
    show_path("run directory", run.path)
    failed, skipped = summary["failures"], len(summary["skipped_photos"])
    told = [f"{failed} of {len(run.rows)} outputs failed"] if failed else []
    told += [f"{skipped} photo{'s were' if skipped > 1 else ' was'} left out"] if skipped else []
    if told:
        print(f"{' and '.join(told)}; results.jsonl and photos.csv in the run directory say why", flush=True)


def note(row: Row) -> str:
    """The reason why an output failed, or "not reached" where its search missed the target age; otherwise empty."""
    return row["reason"] or ("not reached" if row.get("reached") is False else "")


def show_photos(faces: Sequence[PreparedFace], path: Path) -> None:
    """Print a row per photo with its status and, if skipped, the reason."""
    yes = {True: "yes", False: ""}
    rows = [[f.name, f.status, yes[f.aligned], f.id_distance, f.pixel_error, yes[f.cached], f.reason] for f in faces]
    show("photos", ("photo", "status", "was aligned", "id distance", "pixel error", "from cache", "reason"), rows)
    show_path("table", path)
    if skipped := sum(face.status != "ready" for face in faces):
        print(f"{skipped} of {len(faces)} faces and photos left out; the table says why", flush=True)


def show_channels(channels: Channels, space: StyleSpace, fdr: float, path: Path) -> None:
    """Print the key numbers of an analysis, and the channels that age depends on most."""
    facts = ("generator", "n_samples", "psi", "seed", "age_r2", "stability_age", "stability_id", "n_faces", "k")
    rows = [[key, value] for key in facts if (value := getattr(channels, key)) is not None]
    for name in ("age", "id", "slope", "id_change"):
        if getattr(channels, f"p_{name}") is not None:
            above = channels.significant(name, fdr)
            rows.append([f"channels above noise by {name}, fdr {fdr:g}", f"{int(above.sum())} of {len(above)}"])
    show("channel analysis", ("", "value"), rows)
    strongest = channels.slope_age if channels.slope_age is not None else channels.coef_age
    if strongest is not None:
        columns = {key: value for key, value in channels.columns(space).items() if key in SHOWN and value is not None}
        order = strongest.abs().nan_to_num(nan=-1).argsort(descending=True)[:10].tolist()
        show("strongest age channels", list(columns), [[values[c] for values in columns.values()] for c in order])
    show_path("channels", path)


SHOWN = ("c", "name", "channel", "r_age", "p_age", "coef_id", "slope_age", "id_change", "region")


def show_sweep(jobs: Sequence[Row], path: Path) -> None:
    """Print one row per job of a sweep, with the overrides in which the jobs differ."""
    common = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    columns = {
        "job": "job",
        "status": "status",
        "outputs": "outputs",
        "failures": "failures",
        "not_reached": "not reached",
        "age_error": "age error",
        "id_similarity_source": "id to source",
        "id_similarity_anchor": "id to anchor",
        "harmonic": "harmonic",
        "diversity": "diversity",
        "seconds": "seconds",
    }
    columns = {key: title for key, title in columns.items() if any(job.get(key) is not None for job in jobs)}
    rows = []
    for job in jobs:
        differing = "\n".join(override for override in job["overrides"] if override not in common)
        rows.append([job["job"], differing, *(job.get(key) for key in list(columns)[1:])])
    show(f"sweep {' '.join(sorted(common))}", ["job", "overrides", *list(columns.values())[1:]], rows)
    show_path("table", path)
