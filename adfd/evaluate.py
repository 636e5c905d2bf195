"""Stage "evaluate": run directories -> metrics, tables and figures. `python -m adfd.evaluate runs=PATH`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from adfd.basics import progress
from adfd.basics.files import atomic
from adfd.config import build_evaluate, build_independent, build_shared, command_line, schema
from adfd.runs import console, stage

if TYPE_CHECKING:
    from adfd.evaluation.jobs import Job

schema.register()


@command_line.entry("evaluate")
@hydra.main(version_base="1.3", config_path=str(schema.CONF), config_name="evaluate")
def main(cfg: DictConfig) -> None:
    stage.run(command_line.checked(evaluate), cfg)


def evaluate(cfg: DictConfig) -> None:
    """Measure the missing quantities of the runs, and write metrics, tables, figures and the page."""
    from adfd.evaluation.jobs import write_metrics
    from adfd.report.run_page import write_report

    build_evaluate.check(cfg)
    output = Path(HydraConfig.get().runtime.output_dir)
    jobs = measure(cfg, output)
    for job in jobs:
        write_metrics(job)
        redraw_sheets(job)
    curve = pass_curves(cfg, jobs)
    natural = natural_faces(cfg, jobs)
    drawn, rows = draw(cfg, jobs, natural, curve), [*jobs, *natural]
    for folder in places(cfg, output):
        write_tables(cfg, jobs, rows, folder)
        write_curves(curve, folder)
        write_figures(drawn, folder / "figures")
    write_report(title(cfg), jobs, output / "report.html", curves(drawn))
    for folder in places(cfg, output)[1:]:
        shutil.copyfile(output / "report.html", folder / "report.html")
    show(cfg, rows)
    for folder in places(cfg, output):
        console.show_path("tables and figures", folder)
        console.show_path("page", folder / "report.html")


def measure(cfg: DictConfig, output: Path) -> list[Job]:
    """The runs as jobs with completed rows; a folder of pictures is converted to a run first."""
    from adfd.evaluation.jobs import latest_rows, make_job

    records = build_evaluate.records(cfg, output)
    measuring = [build_evaluate.measuring(cfg, record) for record in records]
    rows = [latest_rows(record.directory) for record in records]
    pending = [
        (how, record, unread)
        for how, record, of_run in zip(measuring, records, rows, strict=True)
        for unread in how.pending(record.directory, of_run)
    ]
    for how, record, unread in progress.bar(pending, desc="measure", unit="photo", disable=not pending):
        how.measure(record.directory, unread)
    bootstrap = build_shared.settings(cfg.bootstrap)
    return [
        make_job(record, how.complete(record.directory, of_run), how.own, how.labels, bootstrap)
        for record, how, of_run in zip(records, measuring, rows, strict=True)
    ]


def redraw_sheets(job: Job) -> None:
    """Redraw a run's contact sheets with the independent judges' readings, where there are any."""
    from adfd.evaluation.measuring import groups
    from adfd.runs.sheets import outputs_sheet

    for group in groups([row for row in job.rows if row.get("panel_age") is not None]):
        path = job.directory / f"sheets/{group[0]['photo']}_age{group[0]['target_age']:g}.png"
        if path.exists():
            with atomic(path) as stream:
                outputs_sheet(job.directory, group).save(stream, "PNG")


def places(cfg: DictConfig, output: Path) -> list[Path]:
    """Folders for tables and figures: the evaluation's own and, where only one folder is evaluated, that folder."""
    paths = build_evaluate.run_paths(cfg) if cfg.source == "runs" else []
    return list(dict.fromkeys([output, *(path.resolve() for path in paths if len(paths) == 1)]))


def write_tables(cfg: DictConfig, jobs: Sequence[Job], rows: Sequence[Job], folder: Path) -> None:
    """Write `aggregate.json` of the jobs, and the tables of `rows`, which are the jobs and the job of natural faces.

    One table by quantity; where there are several ages, one by target age; where `table.against` names a job, one of
    paired differences to it.
    """
    from adfd.evaluation.jobs import write_aggregate
    from adfd.evaluation.paired import against
    from adfd.report import paper_tables

    bootstrap = build_shared.settings(cfg.bootstrap)
    write_aggregate(jobs, folder / "aggregate.json", bootstrap)
    paper_tables.write(paper_tables.by_quantity(rows, cfg.table.columns), rows, folder / "table")
    if len(paper_tables.target_ages(jobs)) > 1 and cfg.table.by_age:
        paper_tables.write(paper_tables.by_target_age(rows, cfg.table.by_age), rows, folder / "table_by_age")

    other = against(jobs, cfg.table.against) if cfg.table.against and len(jobs) > 1 else None
    if other:
        others = [job for job in jobs if job is not other]
        table = paper_tables.paired(jobs, other, cfg.table.columns, bootstrap)
        paper_tables.write(table, others, folder / "table_paired")


def pass_curves(cfg: DictConfig, jobs: Sequence[Job]) -> dict[str, Any]:
    """The pass curves by label, for jobs that the panel read."""
    from adfd.evaluation.jobs import label
    from adfd.evaluation.pass_curve import pass_curve

    bootstrap = build_shared.settings(cfg.bootstrap)
    curves = {label(job, jobs): pass_curve(job.rows, bootstrap) for job in jobs}
    return {name: curve for name, curve in curves.items() if curve}


def write_curves(curve: dict[str, Any], folder: Path) -> None:
    """Write `pass_curve.json` and `pass_curve.csv`, unless there is no curve."""
    from adfd.evaluation import pass_curve

    if curve:
        pass_curve.write(curve, folder / "pass_curve")


def natural_faces(cfg: DictConfig, jobs: Sequence[Job]) -> list[Job]:
    """The job of unedited faces to show beside the jobs; empty where there is none, or `table.natural` is false."""
    natural = build_independent.natural_faces(cfg, jobs) if cfg.table.natural else None
    return [natural] if natural else []


def draw(cfg: DictConfig, jobs: Sequence[Job], natural: Sequence[Job], curve: dict[str, Any]) -> dict[str, bytes]:
    """The figures for which the jobs have data, as file contents by file name."""
    from adfd.report import figures, judge_figures

    made = {f"{y}_over_{x}": figures.trade_off(jobs, x, y, natural) for x, y in cfg.figures.trade_offs}
    made["age_accuracy"] = figures.age_accuracy(jobs)
    made["pass_curve"] = judge_figures.pass_curve(curve)
    made["calibration"] = judge_figures.calibration() if curve else None
    drawn = dict[str, bytes]()
    for name, figure in made.items():
        if figure is not None:
            drawn |= {f"{name}.svg": figures.svg(figure).encode(), f"{name}.png": figures.png(figure)}
    sheet = figures.contact_sheet(jobs, cfg.figures.sheet_photos, cfg.figures.sheet_jobs)
    return drawn | ({"contact_sheet.jpg": sheet} if sheet else {})


def write_figures(drawn: dict[str, bytes], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in drawn.items():
        with atomic(folder / name) as stream:
            stream.write(content)


def title(cfg: DictConfig) -> str:
    """Title of the page: the names of the evaluated folders."""
    paths = [cfg.folder.path] if cfg.source == "folder" else build_evaluate.run_paths(cfg)
    return ", ".join(Path(path).name for path in paths)


def curves(drawn: dict[str, bytes]) -> dict[str, str]:
    """The SVGs of the figures, by caption."""
    return {name[:-4].replace("_", " "): content.decode() for name, content in drawn.items() if name.endswith(".svg")}


def show(cfg: DictConfig, jobs: Sequence[Job]) -> None:
    """Print the means and the judges' names."""
    from adfd.report import paper_tables

    table = paper_tables.by_quantity(jobs, cfg.table.columns)
    titles = ["quantity", *(name.replace(" ", "\n") for name in table.labels)]  # one line per quantity: there are many
    rows: list[list[Any]] = [["status", *(job.status for job in jobs)]]
    for column in table.columns:
        rows.append([column.quantity.title, *(value and value.mean for value in column.values)])
    console.show("evaluation", titles, rows)
    for note in table.notes:
        print(note)


if __name__ == "__main__":
    main()
