"""A W&B workspace for a sweep, as code: ages and lambdas, the good corner, the refinement, the sheets."""

from __future__ import annotations

import json
from typing import Any

from adfd.basics.errors import AdfdError

SCORES = ("age_error", "id_similarity_source", "diversity", "harmonic")
LAMBDAS = ("aging", "id", "l2", "perceptual")
CURVES = ("loss", "age_error", "id", "l2", "perceptual")


def workspace(entity: str, project: str, name: str, sweep_id: str | None) -> Any:
    """The workspace of one sweep, or of all of a project's runs. Raises AdfdError without the package for it."""
    try:
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as made
    except ImportError as error:
        raise AdfdError(f"{error.name} is missing; install it with: pip install 'adfd[dashboard]'") from error

    def section(title: str, *shown: Any) -> Any:
        return made.Section(name=title, panels=list(shown), is_open=True)

    scatter, line, bar = panels.ScatterPlot, panels.LinePlot, panels.BarPlot
    axes = [f"c::{key}" for key in ("target_age", *(f"loss.{term}" for term in LAMBDAS))]
    columns = [panels.ParallelCoordinatesPlotColumn(metric=key) for key in (*axes, *SCORES)]
    corner = scatter(title="The good corner is top left", x="age_error", y="id_similarity_source", z="c::loss.aging")
    by_age = [scatter(title=f"{key} by age", x="c::target_age", y=key, z="c::loss.aging") for key in SCORES]
    by_lambda = [
        bar(title=f"{key} by lambda", metrics=[key], groupby="loss.aging") for key in ("harmonic", "diversity")
    ]
    refinement = [
        line(title=f"{key}: mean, 10 % and 90 %", x="refine/step", y=[f"refine/{key}{q}" for q in ("", "_p10", "_p90")])
        for key in CURVES
    ]
    return made.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            section("Ages and lambdas", corner, *by_age, *by_lambda, panels.ParallelCoordinatesPlot(columns=columns)),
            section("Refinement", *refinement),
            section("Faces", panels.MediaBrowser(title="Contact sheets", media_keys=["sheets"])),
        ],
        runset_settings=made.RunsetSettings(filters=f"Config('sweep_id') = '{sweep_id}'" if sweep_id else []),
    )


def as_json(shown: Any) -> str:
    """What W&B would be sent."""
    model = shown._to_model()  # the package has no public way to see it
    return json.dumps(json.loads(model.model_dump_json(by_alias=True, exclude_none=True)), indent=2)
