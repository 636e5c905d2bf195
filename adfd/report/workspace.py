"""A W&B workspace and report for a sweep: heat maps, the trade-off of age and identity, refinement curves, sheets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from adfd.basics.errors import AdfdError
from adfd.report.heat_map import SCORES as MAPPED
from adfd.report.heat_map import HeatMap, markdown

SCORES = ("age_error", "id_similarity_source", "diversity", "harmonic")
LAMBDAS = ("aging", "id", "l2", "perceptual")
CURVES = ("loss", "age_error", "id", "l2", "perceptual")
HEAT_MAP = "heat_map"
"""Prefix of the heat maps' names in W&B."""


def workspace(entity: str, project: str, name: str, sweep_id: str | None, lambdas: Sequence[str] = ()) -> Any:
    """The workspace of one sweep, or of all of a project's runs; `lambdas` are those that have a heat map.

    Raises AdfdError where the wandb-workspaces package is missing.
    """
    panels, made = packages()
    return made.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            made.Section(name=title, panels=shown, is_open=True) for title, shown in sections(panels, lambdas).items()
        ],
        runset_settings=made.RunsetSettings(filters=of_sweep(made, sweep_id)),
    )


def report(
    entity: str, project: str, name: str, sweep_id: str, maps: Sequence[HeatMap], *, look_up: bool = True
) -> Any:
    """The report of one sweep: its heat maps as tables of numbers, then the panels of the workspace.

    A saved report refers to its project by a number, which the package looks up over the network if `look_up` is true.
    """
    panels, made = packages()
    blocks: list[Any] = [panels.H1(text=name)]
    for shown in maps:
        blocks.append(panels.H2(text=f"Ages by loss.{shown.lambda_name}"))
        for score, title in MAPPED.items():
            blocks.append(panels.MarkdownBlock(text=f"**{title}**\n\n{markdown(shown, score)}"))
    where = {"entity": entity, "project": project} if look_up else {}
    for title, grid in sections(panels, [shown.lambda_name for shown in maps]).items():
        runs = panels.Runset(**where, name=name, filters=of_sweep(made, sweep_id))
        blocks += [panels.H2(text=title), panels.PanelGrid(runsets=[runs], panels=grid)]
    return panels.Report(entity=entity, project=project, title=name, width="fluid", blocks=blocks)


def sections(panels: ModuleType, lambdas: Sequence[str]) -> dict[str, list[Any]]:
    """The panels, by title of their section."""
    scatter, line, bar = panels.ScatterPlot, panels.LinePlot, panels.BarPlot
    age, aging = panels.Config("target_age"), panels.Config("loss.aging")  # a bare name would mean a key of the summary
    axes = [age, *(panels.Config(f"loss.{term}") for term in LAMBDAS)]
    columns = [panels.ParallelCoordinatesPlotColumn(metric=key) for key in (*axes, *SCORES)]
    heat = [
        panels.MediaBrowser(title=f"Ages by loss.{name}", media_keys=[f"figures/{HEAT_MAP}_{name}"], num_columns=1)
        for name in lambdas
    ]
    corner = scatter(title="The good corner is top left", x="age_error", y="id_similarity_source", z=aging)
    by_age = [scatter(title=f"{key} by age", x=age, y=key, z=aging) for key in SCORES]
    by_lambda = [bar(title=f"{key} by lambda", metrics=[key], groupby=aging) for key in ("harmonic", "diversity")]
    refinement = [
        line(title=f"{key}: mean, 10 % and 90 %", x="refine/step", y=[f"refine/{key}{q}" for q in ("", "_p10", "_p90")])
        for key in CURVES
    ]
    return {
        "Ages and lambdas": [
            *heat,
            corner,
            *by_age,
            *by_lambda,
            panels.ParallelCoordinatesPlot(columns=columns),
        ],
        "Refinement": refinement,
        "Faces": [panels.MediaBrowser(title="Contact sheets", media_keys=["sheets"])],
    }


def packages() -> tuple[ModuleType, ModuleType]:
    """W&B's modules for reports, which also defines the panels of workspaces, and for workspaces."""
    try:
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as made
    except ImportError as error:
        raise AdfdError(f"{error.name} is missing; install it with: pip install 'adfd[dashboard]'") from error
    return panels, made


def of_sweep(made: ModuleType, sweep_id: str | None) -> list[Any]:
    """The filter that selects one sweep's runs, which form a W&B group."""
    return [made.Metric("Group") == sweep_id] if sweep_id else []


def as_json(shown: Any) -> dict[str, Any]:
    """The JSON that would be sent to W&B."""
    model = shown._to_model()  # the package has no public function for it
    return json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
