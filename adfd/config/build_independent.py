"""Build an evaluation's independent judges, and the job of unedited faces with which the outputs are compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from adfd.config.build_shared import settings

if TYPE_CHECKING:
    from adfd.evaluation.independent import Independent
    from adfd.evaluation.jobs import Job, Record
    from adfd.evaluation.panel import Panel
    from adfd.models.lpips_alex import LpipsAlex
    from adfd.models.vgg16 import VggFeatures


def independent(run: Record, identity_judge: str, batch_size: int) -> Independent:
    """The independent judges whose weight files exist; networks are loaded when the first picture is read.

    KID is available only for runs of the mobile generator, for which the package has unedited faces.
    """
    from adfd.evaluation import calibration
    from adfd.evaluation.independent import Independent
    from adfd.evaluation.panel import missing
    from adfd.models import fetch

    mobile = run.model["_target_"].endswith(".load_mobile") and "method" in run.config
    wanted = {"LPIPS": fetch.ALEXNET} | ({"VGG-16": fetch.VGG16} if mobile else {})
    absent = (*(judges := missing()), *(name for name, file in wanted.items() if not file.is_there()))
    known = calibration.shipped()
    return Independent(
        panel=None if judges else _panel,
        lpips=None if "LPIPS" in absent else _lpips,
        calibration=known,
        batch_size=batch_size,
        missing=absent,
        in_loop_threshold=known.same_person_in_loop if identity_judge == "dlib face" else None,
        vgg16=_vgg16 if mobile and "VGG-16" not in absent else None,
    )


def natural_faces(cfg: DictConfig, jobs: Sequence[Job]) -> Job | None:
    """A job of unedited faces with the ages of the jobs' outputs.

    None where the panel read no output, or the loop's age judge is not dlib's.
    """
    from adfd.evaluation import calibration, natural
    from adfd.evaluation.independent import FLAG_YEARS
    from adfd.evaluation.jobs import Job, estimates

    rows = [row for job in jobs for row in job.rows if row.get("panel_age") is not None]
    judges = next((job.judges for job in jobs), {})
    if not rows or not judges.get("age", "").startswith("dlib age"):
        return None
    made = natural.rows(natural.shipped(), calibration.shipped(), rows, FLAG_YEARS)
    bootstrap = settings(cfg.bootstrap)
    ages = sorted({row["target_age"] for row in made})
    return Job(
        directory=Path(),
        name="natural faces",
        method="natural faces",
        overrides=(),
        command="",
        config={},
        status="",
        reason="",
        rows=made,
        estimates=estimates(made, bootstrap),
        by_age={age: estimates([row for row in made if row["target_age"] == age], bootstrap) for age in ages},
        judges=dict(judges),
    )


@cache
def _panel() -> Panel:
    from adfd.evaluation.panel import load_panel

    return load_panel()


@cache
def _vgg16() -> VggFeatures:
    from adfd.models.vgg16 import load_vgg16

    return load_vgg16()


@cache
def _lpips() -> LpipsAlex:
    from adfd.models.lpips_alex import load_lpips

    return load_lpips()
