"""The W&B workspace as JSON, without a network, and the sweep file as this program's command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from adfd import dashboard
from adfd.config import schema

SWEEP = Path(__file__).parents[1] / "experiments" / "lambdas" / "wandb_sweep.yaml"


def test_dry_run_shows_the_sweeps_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb_workspaces")
    (tmp_path / "sweep_id").write_text("ages-1a2b3c")
    monkeypatch.setattr(sys, "argv", ["adfd dashboard", "--entity", "me", "--sweep", str(tmp_path), "--dry-run"])
    assert dashboard.main() == 0
    shown = capsys.readouterr().out
    view = json.loads(shown)
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    names = [section["name"] for section in sections]
    assert names[:3] == ["Ages and lambdas", "Refinement", "Faces"]
    assert [panel["viewType"] for panel in sections[0]["panels"]].count("Scatter Plot") == 5
    assert "ages-1a2b3c" in shown
    assert "refine/loss_p90" in shown


def test_a_folder_that_is_no_sweep_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["adfd dashboard", "--entity", "me", "--sweep", str(tmp_path)])
    assert dashboard.main() == 1
    assert "has no file sweep_id" in capsys.readouterr().err


def test_the_sweep_file_asks_for_what_can_be_set() -> None:
    schema.register()
    sweep = yaml.safe_load(SWEEP.read_text())
    given = {key: value.get("value", value.get("min")) for key, value in sweep["parameters"].items()}
    overrides = [part for part in sweep["command"][1:] if "args" not in part]
    with initialize_config_dir(str(schema.CONF), version_base="1.3"):
        cfg = compose("edit", [*overrides, *(f"{key}={value}" for key, value in given.items())])
    assert (cfg.loss.aging, cfg.loss.id, cfg.data.seeds) == (0.5, 0.01, [1, 2, 3])
    assert sweep["command"][0] == sweep["program"] == "adfd"
