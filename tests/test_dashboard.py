"""What W&B shows of a sweep, without a network, and the sweep file as this program's command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from PIL import Image
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
from wandb.sdk.lib import config_util

from adfd import dashboard
from adfd.config import schema
from tests.processes import start
from tests.runs.test_tracking import items, records

SWEEP = Path(__file__).parents[1] / "experiments" / "lambdas" / "wandb_sweep.yaml"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two jobs that differ in lambda_aging; of the first, an output was judged from outside."""
    (tmp_path / "sweep_id").write_text("ages-1a2b3c")
    for job, aging in enumerate((1.0, 10.0)):
        folder = tmp_path / str(job)
        (folder / "images").mkdir(parents=True)
        row = {
            "photo": "p",
            "target_age": 70.0,
            "output": 0,
            "status": "ok",
            "age": 68.0 + job,
            "image": "images/o.png",
        }
        row |= {"anchor_age": 69.0, "id_similarity_source": 0.8, "reason": "", "failed": None}
        (folder / "results.jsonl").write_text(json.dumps(row) + "\n")
        (folder / "config.json").write_text(
            json.dumps({"config": {"loss": {"aging": aging, "id": 0.1, "_target_": "x"}}})
        )
        for shade, name in enumerate(("p_source", "p_age70_anchor", "o")):
            Image.new("RGB", (8, 8), (80 * shade, 99 * job, 0)).save(folder / f"images/{name}.png")
    line = {
        "photo": "p",
        "target_age": 70.0,
        "output": 0,
        "judges": "independent",
        "of": [68.0],
        "independent": ["panel"],
    }
    line |= {f"{judge}_age{role}": 60.0 for judge in ("faceres", "faceapi") for role in ("", "_anchor")}
    (tmp_path / "0" / "measurements.jsonl").write_text(json.dumps(line | {"id_independent_source": 0.7}) + "\n")
    return tmp_path


def asked(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["adfd dashboard", *words])
    return dashboard.main()


def test_dry_run_shows_the_sweeps_workspace_and_report(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb_workspaces")
    assert asked(monkeypatch, "--entity", "me", "--sweep", str(sweep), "--dry-run") == 0
    shown = json.loads(capsys.readouterr().out)
    sections = shown["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections][:3] == ["Ages and lambdas", "Refinement", "Faces"]
    kinds = [panel["viewType"] for panel in sections[0]["panels"]]
    assert kinds.count("Scatter Plot") == 5
    assert kinds.count("Parallel Coordinates Plot") == 1
    corner, by_age = (panel["config"] for panel in sections[0]["panels"][1:3])
    lambda_aging, target_age = "config:loss.value.aging", "config:target_age.value"  # W&B's names of config's values
    read = [f"summary:{key}" for key in ("age_error", "id_similarity_source", "diversity", "harmonic")]
    assert [corner[axis] for axis in ("xAxis", "yAxis", "zAxis")] == [read[0], read[1], lambda_aging]
    assert [by_age[axis] for axis in ("xAxis", "yAxis", "zAxis")] == [target_age, read[0], lambda_aging]
    lines = [column["accessor"] for column in sections[0]["panels"][-1]["config"]["columns"]]
    assert (lines[:2], lines[-4:]) == ([target_age, lambda_aging], read)
    assert sections[0]["panels"][-2]["config"]["groupBy"] == "loss.value.aging"
    assert sections[0]["panels"][0]["config"]["mediaKeys"] == ["figures/heat_map_aging"]  # not of id, which is one
    assert "refine/loss_p90" in json.dumps(sections[1])
    assert sections[2]["panels"][0]["config"]["mediaKeys"] == ["sheets"]

    report = json.dumps(shown["report"])
    assert json.dumps("| age \\ loss.aging | 1 | 10 |\n| --- | --- | --- |\n| 70 | 2.00 | 1.00 |")[1:-1] in report
    assert report.count('"type": "panel-grid"') == 3
    only = {"key": {"section": "run", "name": "group"}, "op": "=", "value": "ages-1a2b3c", "disabled": False}
    (runs,) = shown["workspace"]["spec"]["section"]["runSets"]
    assert runs["filters"]["filters"] == [only]
    grids = [block for block in shown["report"]["spec"]["blocks"] if block["type"] == "panel-grid"]
    assert [grid["metadata"]["runSets"][0]["filters"]["filters"] for grid in grids] == [[only]] * 3
    assert sorted(path.name for path in sweep.iterdir()) == ["0", "1", "sweep_id"]


@pytest.mark.thorough
def test_the_overview_has_all_outputs_with_readings_from_outside(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert asked(monkeypatch, "--sweep", str(sweep), "--offline") == 0
    printed = capsys.readouterr().out
    (file,) = sweep.glob("wandb/offline-run-*/run-*.wandb")
    (line,) = [line for line in printed.splitlines() if line.startswith("to W&B: wandb sync ")]
    assert file.parent in sweep.glob(line.rpartition(f"{sweep}/")[2])
    found = records(file)
    (run,) = [record.run for record in found if record.HasField("run")]
    assert (run.run_group, run.job_type, run.display_name) == ("ages-1a2b3c", "overview", "overview")
    logged: dict = {}
    for record in found:
        if record.HasField("history"):
            logged |= items(record.history.item)
    drawn = file.parent / "files" / logged["figures/heat_map_aging.path"]
    assert drawn.read_bytes() == (sweep / "overview" / "heat_map_aging.png").read_bytes()
    table = json.loads((file.parent / "files" / logged["results.path"]).read_text())
    first, second = (dict(zip(table["columns"], row, strict=True)) for row in table["data"])
    assert (first["job"], first["loss.aging"], second["job"], second["loss.aging"]) == ("0", 1.0, "1", 10.0)
    assert (first["id_independent_source"], second["id_independent_source"]) == (0.7, None)
    assert first["panel_age"] == pytest.approx(first["panel_age_anchor"])
    assert first["code"] == "latents/o.npz"
    artifacts = {record.artifact.name: record.artifact.manifest for record in found if record.HasField("artifact")}
    (kept,) = [manifest for name, manifest in artifacts.items() if name.endswith("-results")]
    pictures = [entry for entry in kept.contents if entry.path.endswith(".jpg")]
    assert len(pictures) == 6  # source, anchor and output of each
    assert all(Path(entry.local_path).is_relative_to(sweep / "wandb") for entry in pictures)


def test_readings_of_earlier_pictures_are_left_out(sweep: Path) -> None:
    (sweep / "0" / "measurements.jsonl").write_text(
        (sweep / "0/measurements.jsonl").read_text().replace("68.0", "50.0")
    )
    assert "panel_age" not in dashboard.Sweep(sweep).outputs()[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--entity", "me", "--sweep", "."), "has no file sweep_id"),
        (("--sweep", "."), "--entity is missing"),
        (("--offline",), "--offline needs --sweep"),
    ],
)
def test_mistakes_are_told_in_one_line(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert asked(monkeypatch, *words) == 1
    assert said in capsys.readouterr().err


def agents_command(parameters: dict[str, object]) -> list[str]:
    """The command line that W&B's agent makes of the sweep file for a job with these parameters."""
    told = create_sweep_command_args({"args": {key: {"value": value} for key, value in parameters.items()}})
    words: list[str] = []
    for word in create_sweep_command(yaml.safe_load(SWEEP.read_text())["command"]):
        words += told[word[2:-1]] if word.startswith("${") else [word]
    return words


def test_the_sweep_file_asks_for_what_can_be_set() -> None:
    schema.register()
    sweep = yaml.safe_load(SWEEP.read_text())
    program, *overrides = agents_command({key: value["min"] for key, value in sweep["parameters"].items()})
    with initialize_config_dir(str(schema.CONF), version_base="1.3"):
        cfg = compose("edit", overrides)
    assert (cfg.loss.aging, cfg.loss.id, cfg.data.seeds) == (0.5, 0.01, [1, 2, 3])
    assert (cfg.logger.wandb, cfg.logger.mode) == (True, "online")
    assert program == sweep["program"] == "adfd"


@pytest.mark.thorough
def test_an_agents_job_logs_its_whole_configuration_to_the_agents_run(tmp_path: Path) -> None:
    parameters = {"loss.aging": 2.5, "loss.id": 5e-05}
    small = ["data.seeds=[1]", "model=tiny", "hardware=cpu", "refine.max_steps=1", "logger.mode=offline"]
    given = tmp_path / "parameters.yaml"
    config_util.save_config_file_from_dict(str(given), {key: {"value": value} for key, value in parameters.items()})
    command = [*agents_command(parameters), *small, f"hydra.run.dir={tmp_path / 'run'}"]
    agent = {"WANDB_RUN_ID": "agents", "WANDB_SWEEP_ID": "ofwandb", "WANDB_SWEEP_PARAM_PATH": str(given)}
    job = start(f"{command[0]}.__main__", *command[1:], environment=agent)
    job.join(300)
    assert job.exitcode == 0
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*-agents/run-*.wandb")
    (run,) = [record.run for record in records(file) if record.HasField("run")]
    assert (run.run_id, run.sweep_id) == ("agents", "ofwandb")
    config = items(run.config.update)
    assert (config["loss"]["aging"], config["loss"]["id"], config["loss.aging"]) == (2.5, 5e-05, 2.5)
    assert (config["data"]["seeds"], config["logger"]["mode"]) == ([1], "offline")
