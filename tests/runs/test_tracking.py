"""An offline W&B run, read back from its file."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from wandb.proto import wandb_internal_pb2

from adfd.basics.errors import AdfdError
from adfd.runs import tracking
from adfd.runs.tracking import WandbTracker, curves, thin
from tests.conftest import QUICK

BLOCK, HEADER = 32768, 7
NAMED: dict = {"id": "a", "name": "a", "group": None, "job_type": "edit", "project": "adfd", "entity": None, "tags": []}


def records(path: Path) -> list[wandb_internal_pb2.Record]:
    """Records of the `.wandb` file of a finished run, which W&B's own process may still be writing."""
    deadline = time.monotonic() + 60
    found = parse(path.read_bytes())
    while not any(record.HasField("exit") for record in found):
        assert time.monotonic() < deadline, f"{path} does not come to its end"
        time.sleep(0.1)
        found = parse(path.read_bytes())
    return found


def parse(data: bytes) -> list[wandb_internal_pb2.Record]:
    """Records in LevelDB's log format (checksum, length, kind, data) behind 7 bytes of file header."""
    at, found, whole = HEADER, [], b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # a block's end too short for a header is padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if at + HEADER + length > len(data):  # being written
            break
        whole += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # full, last
            found.append(wandb_internal_pb2.Record.FromString(whole))
            whole = b""
    return found


def items(updates: object) -> dict:
    return {(u.key or ".".join(u.nested_key)): json.loads(u.value_json) for u in updates}  # type: ignore[attr-defined]


@pytest.mark.thorough
def test_offline_run_holds_config_history_and_summary(
    run_stage: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    sweep = run_stage(
        "-m", *QUICK, "data=faces", "data.seeds=[1]", "refine.max_steps=3", "method.n_outputs=2", "target_age=70",
        "loss.aging=5,6", "logger=both", "logger.mode=offline", "logger.every_n_steps=1", "logger.tags=[trial]",
    )  # fmt: skip
    ids = set()
    for job in ("0", "1"):
        (file,) = (sweep / job / "wandb").glob("offline-run-*/run-*.wandb")
        found = records(file)
        (run,) = [record.run for record in found if record.HasField("run")]
        ids.add(run.run_id)
        config = items(run.config.update)
        assert config["loss"]["aging"] == 5 + int(job)
        assert config["data"]["seeds"] == [1]
        sweep_id = (sweep / "sweep_id").read_text()
        assert sweep_id.startswith(f"{sweep.name}-")
        assert (run.run_group, run.job_type, list(run.tags)) == (sweep_id, "diversify", ["trial"])
        assert (config["sweep_id"], config["config_hash"]) == (sweep_id, (sweep / job / "config_hash").read_text())
        assert f"loss.aging={5 + int(job)}" in run.display_name
        assert "logger" not in run.display_name

        history = [items(record.history.item) for record in found if record.HasField("history")]
        steps = [json.loads(line) for line in (sweep / job / "steps.jsonl").read_text().splitlines()]
        curve = {line["refine/step"]: line for line in history if "refine/step" in line}
        assert list(curve) == [0, 1, 2, 3]
        for step, point in curve.items():
            losses = [row["loss"] for row in steps if row["step"] == step]
            assert point["refine/samples"] == len(losses) == 2
            assert point["refine/loss"] == pytest.approx(sum(losses) / 2)
            low, high = sorted(losses)
            assert point["refine/loss_p10"] == pytest.approx(low + 0.1 * (high - low))
            assert point["refine/loss_p90"] == pytest.approx(low + 0.9 * (high - low))
        outputs = [line for line in history if "output/index" in line]
        rows = [json.loads(line) for line in (sweep / job / "results.jsonl").read_text().splitlines()]
        assert [line["output/age"] for line in outputs] == [row["age"] for row in rows]
        assert [line["output/index"] for line in outputs] == [1, 2]
        keys = {key for line in history for key in line}
        assert not [key for key in keys if "seed1" in key]  # whatever the photos are called
        assert {"sheets.path", "results.path", "trajectories.path"} <= keys
        metrics = {record.metric.name or record.metric.glob_name: record.metric for record in found}
        assert metrics["refine/*"].step_metric == "refine/step"
        assert metrics["output/age_error"].summary.min
        assert metrics["output/id_similarity_source"].summary.max
        artifacts = {record.artifact.type: record.artifact for record in found if record.HasField("artifact")}
        assert artifacts["channels"].name == "channels-tiny-0"
        assert artifacts["channels"].use_after_commit  # an input of the run
        assert {entry.path for entry in artifacts["rows"].manifest.contents} >= {"results.jsonl", "steps.jsonl"}
        staged = [Path(entry.local_path) for kept in artifacts.values() for entry in kept.manifest.contents]
        assert all(path.is_file() and path.is_relative_to(sweep / job / "wandb") for path in staged)

        summary: dict = {}
        for record in found:
            if record.HasField("summary"):
                summary |= items(record.summary.update)
        on_disk = json.loads((sweep / job / "summary.json").read_text())
        for key in ("age_error", "id_similarity_source", "harmonic", "diversity", "outputs", "failures"):
            assert summary[key] == pytest.approx(on_disk[key])
        assert [record.exit.exit_code for record in found if record.HasField("exit")] == [0]
    assert len(ids) == 2


@pytest.mark.thorough
def test_one_command_syncs_a_sweep_and_a_resumed_job_keeps_its_run(
    run_stage: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    common = (*QUICK, "data=faces", "data.seeds=[1,2]", "refine.max_steps=2", "method.n_outputs=1", "target_age=20,70")
    offline = ("logger=wandb", "logger.mode=offline")
    sweep = run_stage("-m", *common, *offline)
    rows = (sweep / "0" / "results.jsonl").read_text().splitlines(keepends=True)
    (sweep / "0" / "results.jsonl").write_text(rows[0])
    time.sleep(1)  # W&B names folders by the second
    run_stage("-m", *common, *offline, "logger.tags=[again]", "sweep.resume=true")
    printed = capsys.readouterr().out.splitlines()
    (line,) = {line for line in printed if line.startswith("to W&B: ")}
    command = line.removeprefix("to W&B: ").split()
    files = [
        path for pattern in command[2:] for path in sweep.parent.glob(str(Path(pattern).relative_to(sweep.parent)))
    ]
    dry = [sys.executable, "-m", *command[:2], "--dry-run", *map(str, files)]
    monkeypatch.delenv("WANDB_SILENT")
    said = subprocess.run(dry, check=True, capture_output=True, text=True).stderr
    ids = {job: {file.name.split("-")[-1] for file in (sweep / job / "wandb").glob("offline*")} for job in ("0", "1")}
    assert [len(ids["0"]), len(ids["1"])] == [1, 1]
    assert said.count(f"run-{ids['0'].pop()}.wandb") == 2
    assert said.count(f"run-{ids['1'].pop()}.wandb") == 1

    later = max((sweep / "0" / "wandb").glob("offline-run-*/run-*.wandb"), key=lambda path: path.parent.name)
    history = [items(record.history.item) for record in records(later) if record.HasField("history")]
    outputs = [line for line in history if "output/index" in line]
    assert [line["output/index"] for line in outputs] == [1, 2]  # with what the first start had finished
    rows = [json.loads(line) for line in (sweep / "0" / "results.jsonl").read_text().splitlines()]
    assert [line["output/age"] for line in outputs] == [row["age"] for row in rows]
    steps = [json.loads(line) for line in (sweep / "0" / "steps.jsonl").read_text().splitlines()]
    curve = {line["refine/step"]: line["refine/samples"] for line in history if "refine/step" in line}
    assert curve == Counter(row["step"] for row in steps)


@pytest.mark.thorough
def test_a_sweep_keeps_links_to_its_runs_for_the_terminal(
    run_stage: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    sweep = run_stage(
        "-m", *QUICK, "data=faces", "data.seeds=[1]", "refine.max_steps=2", "target_age=20,70", "n_outputs=1",
        "logger=wandb", "logger.mode=offline",
    )  # fmt: skip
    assert f"in this terminal: wandb leet {sweep}/wandb" in capsys.readouterr().out.splitlines()
    links = {link.resolve().parents[1].name: link for link in (sweep / "wandb").iterdir()}
    assert sorted(links) == ["0", "1"]
    for job, link in links.items():
        assert not link.readlink().is_absolute()  # the sweep may be moved
        (file,) = link.glob("run-*.wandb")
        records(file)
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(link)]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        on_disk = json.loads((sweep / job / "summary.json").read_text())
        for key in ("age_error", "id_similarity_source", "harmonic", "outputs"):
            assert float(said["summary"][key]) == pytest.approx(on_disk[key])


def test_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdfdError, match=r"logger\.mode must be one of online, offline, disabled, got live"):
        WandbTracker(tmp_path, {}, **NAMED, mode="live")


@pytest.mark.thorough
def test_animations_are_videos(run_stage: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = run_stage(
        "data=faces", "data.seeds=[1]", "method=transform", "target_age=[20,60]", "logger=wandb", "logger.mode=offline",
        "animation=both", "animation.fps=2", "animation.size=64",
    )  # fmt: skip
    (file,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    logged: dict = {}
    for record in records(file):
        if record.HasField("history"):
            logged |= items(record.history.item)
    for name in ("gif", "mp4"):
        assert logged[f"animations/{name}._type"] == "video-file"
        kept = file.parent / "files" / logged[f"animations/{name}.path"]
        assert kept.read_bytes() == (run / "animations" / f"seed1.{name}").read_bytes()
    assert logged["sheets.caption"] == "seed1_lifespan"


def test_curves_are_over_the_samples_that_still_run() -> None:
    steps = [
        {"photo": "a", "target_age": 70.0, "output": output, "step": step, "loss": float(output + step), "age": 60.0}
        for output in range(11)
        for step in range(0, 10 if output < 5 else 5, 5)
    ]
    first, second = curves(steps)
    assert (first["step"], first["samples"], second["step"], second["samples"]) == (0, 11, 5, 5)
    assert (first["loss"], first["loss_p10"], first["loss_p90"]) == (5, 1, 9)
    assert second["loss"] == 7
    assert first["age_error"] == 10


@pytest.mark.parametrize("limit", [1000, 60, 20, 7])
def test_a_table_of_readings_keeps_to_its_limit(limit: int) -> None:
    steps = [{"output": output, "step": step} for output in range(10) for step in range(0, 40, 5)]
    kept = thin(steps, limit)
    assert 0 < len(kept) <= limit
    if limit >= 20:
        assert len({sum(row["output"] == output for row in kept) for output in range(10)}) == 1


@pytest.mark.thorough
def test_keys_and_pictures_are_bounded_whatever_the_run_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setattr(tracking, "MAX_SHEETS", 3)
    Image.new("RGB", (8, 8)).save(tmp_path / "sheet.png")
    tracker = WandbTracker(tmp_path, {}, **NAMED, mode="offline")
    for photo in range(12):
        row = {"photo": f"p{photo}", "target_age": 70.0, "output": 0, "status": "ok", "age": 60.0 + photo}
        tracker.step(row | {"step": 0, "loss": 1.0})
        tracker.output(row)
        tracker.sheet(f"p{photo}_age70", tmp_path / "sheet.png")
    tracker.finish({}, [], exit_code=0)
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    history = [items(record.history.item) for record in records(file) if record.HasField("history")]
    assert sum("sheets.path" in line for line in history) == 3
    assert [line["output/age_error"] for line in history if "output/index" in line] == [abs(n - 10) for n in range(12)]
    assert not [key for line in history for key in line if "p1" in key.split("/")[0]]


def test_disabled_is_a_mode_like_the_others(tmp_path: Path) -> None:
    tracker = WandbTracker(tmp_path, {}, **NAMED, mode="disabled")
    (tmp_path / "c.npz").write_bytes(b"c")
    tracker.channels("tiny-0", tmp_path / "c.npz", made=False)
    tracker.channels("tiny-0", tmp_path / "c.npz", made=True)
    tracker.finish({}, [{"photo": "a", "target_age": 1.0, "output": 0, "status": "ok"}], exit_code=0)
