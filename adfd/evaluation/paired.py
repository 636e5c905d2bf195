"""Paired comparison of two jobs on the same photos, which removes the variation between persons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from adfd.basics.files import Row
from adfd.evaluation.bootstrap import Bootstrap
from adfd.evaluation.estimates import Estimate, metric_of, told
from adfd.evaluation.jobs import Job, label
from adfd.evaluation.metrics import PhotoMean
from adfd.evaluation.quantities import QUANTITIES, Quantity


def against(jobs: Sequence[Job], name: str) -> Job | None:
    """The job with this label, or else the first with this method; None where there is none."""
    labelled = [job for job in jobs if label(job, jobs) == name]
    return next(iter([*labelled, *(job for job in jobs if job.method == name)]), None)


def differences(job: Job, other: Job, bootstrap: Bootstrap) -> dict[str, Estimate]:
    """Differences `job` minus `other` on the photos and ages that both have, by name of the quantity.

    The interval is that of the difference, by bootstrap over photos. Left out are quantities that are not a mean over
    photos, and quantities that different judges measured in the two jobs.
    """
    made = {
        name: difference(quantity, job.rows, other.rows, bootstrap)
        for name, quantity in QUANTITIES.items()
        if all(_judge(job, role) == _judge(other, role) for role in quantity.judges)
    }
    return {name: value for name, value in made.items() if value is not None}


def difference(
    quantity: Quantity, rows: Sequence[Row], other_rows: Sequence[Row], bootstrap: Bootstrap
) -> Estimate | None:
    """The difference of one quantity; None where the jobs have no photo and age in common."""
    if quantity.metric.interval is not PhotoMean.interval:  # type: ignore[attr-defined]
        return None
    sides = [told(quantity, side) for side in (rows, other_rows)]
    common = set.intersection(*({_place(row) for row in side} for side in sides))
    sides = [[row for row in side if _place(row) in common] for side in sides]
    if not common:
        return None
    metrics = [metric_of(quantity, side) for side in sides]
    per_photo = np.concatenate([metric.per_photo.numpy() for metric in metrics], axis=1)
    half = per_photo.shape[1] // 2

    def score(means: np.ndarray) -> np.ndarray:
        ours, theirs = (metrics[0].score(torch.from_numpy(part)) for part in (means[..., :half], means[..., half:]))
        return (ours - theirs).numpy()

    low, high = bootstrap.interval(per_photo, score)
    each = score(per_photo)
    spread = float(each.std(ddof=1)) if len(each) > 1 else np.nan
    return Estimate(float(score(per_photo.mean(axis=0))), spread, low, high, len(per_photo), len(sides[0]))


def _judge(job: Job, role: str) -> str:
    """A judge's name, without its place in loss or search."""
    return job.judges.get(role, "").partition(", ")[0]


def _place(row: Row) -> tuple[str, float]:
    return row["photo"], row["target_age"]
