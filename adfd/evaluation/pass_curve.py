"""Pass curve: share of outputs that pass, and their diversity, against the threshold on panel age to anchor."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adfd.basics.files import Row, atomic, finite
from adfd.evaluation.bootstrap import Bootstrap
from adfd.evaluation.independent import diversity
from adfd.evaluation.jobs import Estimate, estimates, write_json
from adfd.evaluation.measuring import groups

YEARS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0)
SHOWN = ("passes", "lpips_credited", "lpips_matched")


def pass_curve(rows: Sequence[Row], bootstrap: Bootstrap) -> dict[float, dict[str, Estimate]]:
    """Estimates of the quantities `SHOWN` for each threshold in years; empty where the panel read no output."""
    judged = [row for row in rows if row.get("recognised") is not None and row["status"] == "ok"]
    curve = {}
    for years in YEARS if judged else ():
        passing = [
            {key: value for key, value in row.items() if key not in SHOWN}
            | {"passes": float(row["recognised"] and abs(row["age_gap_signed"]) <= years)}
            for row in judged
        ]
        made = [row | diversity(i, group) for group in groups(passing) for i, row in enumerate(group)]
        curve[years] = estimates(made, bootstrap, SHOWN)
    return curve


def lines(curves: dict[str, dict[float, dict[str, Estimate]]]) -> list[dict[str, Any]]:
    """The jobs' curves, by label, as flat records for JSON and CSV."""
    return [
        {"job": name, "years": years, "quantity": quantity, "mean": e.mean, "low": e.low, "high": e.high}
        for name, curve in curves.items()
        for years, values in curve.items()
        for quantity, e in values.items()
    ]


def write(curves: dict[str, dict[float, dict[str, Estimate]]], stem: Path) -> None:
    """Write the jobs' curves, by label, as `.json` and `.csv`."""
    records = [finite(record) for record in lines(curves)]
    write_json(stem.with_suffix(".json"), records)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    with atomic(stem.with_suffix(".csv")) as stream:
        stream.write(text.getvalue().encode())
