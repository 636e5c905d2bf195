"""Multiruns that are killed, repeated, extended, or spread over processes."""

from __future__ import annotations

import csv
import errno
import json
import os
import pickle
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from adfd.basics.errors import AdfdError
from adfd.basics.files import lock, read_rows
from adfd.config import build_edit, build_prepare, schema
from adfd.config.sweep import COLUMNS, check_reach, write_csv
from adfd.runs import edit, making
from tests.conftest import QUICK, rows_of, run_in
from tests.processes import kill, start
from tests.test_edit import comparable

Run = Callable[..., Path]
pytestmark = pytest.mark.thorough
AS_THEY_ARE = ("prepare.align=false", "prepare.require_face=false")
SHORT = (*QUICK, "data=faces", "data.seeds=[1,2]", "refine.max_steps=3", "method.n_outputs=2", "logger=none")
RESUME = "sweep.resume=true"
AGGREGATE = (
    *("status", "outputs", "failures", "reason"),
    *("age_error", "id_similarity_source", "id_similarity_anchor", "harmonic", "diversity"),
)


def jobs_of(sweep: Path) -> dict[str, dict[str, str]]:
    """`sweep.csv` by the jobs' hashes; fails where a job stands there twice."""
    lines = list(csv.DictReader((sweep / "sweep.csv").open()))
    jobs = {line["hash"]: line for line in lines}
    assert len(jobs) == len(lines)
    return jobs


def outcome(sweep: Path) -> dict[str, tuple]:
    """All that a sweep found, by the jobs' hashes: rows, and the aggregate without what the clock says."""
    return {
        key: (comparable(read_rows(sweep / job["job"] / "results.jsonl")), [job[column] for column in AGGREGATE])
        for key, job in jobs_of(sweep).items()
    }


def by_age(sweep: Path) -> dict[str, dict[str, str]]:
    return {job["overrides"].split("target_age=")[1].split()[0]: job for job in jobs_of(sweep).values()}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of two jobs."""
    return run_in(tmp_path_factory.mktemp("done"), "-m", *SHORT, "target_age=20,70")


@pytest.fixture(scope="module")
def done_three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of three jobs."""
    return run_in(tmp_path_factory.mktemp("three"), "-m", *SHORT, "target_age=20,40,70")


@pytest.fixture
def sweep(done: Path, tmp_path: Path) -> Path:
    """A finished sweep of two jobs of the test's own."""
    return Path(shutil.copytree(done, tmp_path / "run"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, seed in (("a", 1), ("b", 2)):
        pixels = np.random.RandomState(seed).randint(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((256, 256)).save(folder / f"{name}.png")
    return folder


def test_a_sweep_killed_twice_and_resumed_is_as_if_never_interrupted(
    run_stage: Run, photos: Path, tmp_path: Path
) -> None:
    overrides = (
        *("-m", "target_age=70", "loss.aging=1,5,10", "data=folder", f"data.path={photos}", "logger=csv"),
        *(*AS_THEY_ARE, "prepare.steps=3", "prepare.size=256"),
        *(*QUICK, "refine.max_steps=9", "refine.patience=100", "method.n_outputs=2", "logger.every_n_steps=1"),
    )
    whole, sweep = run_stage(*overrides, directory="whole"), tmp_path / "killed"
    common = ("model=tiny", "hardware=cpu", f"paths.output_dir={tmp_path / 'outputs'}", f"hydra.sweep.dir={sweep}")

    def written() -> int:
        return sum(len(read_rows(file)) for file in sweep.glob("*/results.jsonl"))

    for stop in (2, 6):  # of 12: within the first job and within the second
        process = start("adfd.__main__", *overrides, *common, RESUME)
        while written() < stop:
            assert process.is_alive()
            time.sleep(0.01)
        kill(process)
        assert written() < 12
        assert "running" in {job["status"] for job in jobs_of(sweep).values()}
    run_stage(*overrides, RESUME, directory="killed")

    assert outcome(sweep) == outcome(whole)
    assert len(outcome(sweep)) == 3
    for job in map(str, range(3)):
        rows, steps = rows_of(sweep / job), read_rows(sweep / job / "steps.jsonl")
        assert sorted((r["photo"], r["output"], r["status"]) for r in rows) == [
            (photo, output, "ok") for photo in ("a", "b") for output in (0, 1)
        ]
        assert len(steps) == len({(s["photo"], s["output"], s["step"]) for s in steps}) == 4 * 10
        for row in rows:
            assert (sweep / job / row["image"]).read_bytes() == (whole / job / row["image"]).read_bytes()
    logs = "".join((sweep / job / "edit.log").read_text() for job in map(str, range(3)))
    assert "job 0: done already, 4 outputs" in logs
    assert "job 1: goes on, " in logs


def test_repeated_it_loads_nothing_and_leaves_all_as_it_is(
    run_stage: Run, sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        path: path.read_bytes()
        for pattern in ("*/results.jsonl", "*/images/*", "*/sheets/*", "sweep_id")
        for path in sweep.glob(pattern)
    }
    before = outcome(sweep)
    monkeypatch.setattr(build_edit, "networks", lambda *_: pytest.fail("networks were asked for"))
    monkeypatch.setattr(build_edit, "people", lambda *_: pytest.fail("photos were asked for"))
    run_stage("-m", *SHORT, "target_age=20,70", RESUME)
    assert outcome(sweep) == before
    assert {path: path.read_bytes() for path in files} == files
    assert "job 1: done already, 4 outputs" in (sweep / "1" / "edit.log").read_text()


def test_more_values_in_another_order_find_their_folders(
    run_stage: Run, sweep: Path, done_three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = outcome(sweep)
    run_stage("-m", *SHORT, "target_age=70,40,20", "logger=csv", "paths.prepared_dir=elsewhere", RESUME)
    assert {age: job["job"] for age, job in by_age(sweep).items()} == {"20": "0", "70": "1", "40": "2"}
    assert {key: value for key, value in outcome(sweep).items() if key in first} == first
    assert len({job["sweep_id"] for job in jobs_of(sweep).values()}) == 1
    printed = capsys.readouterr().out
    assert "goes on: 2 finished" in printed
    assert outcome(sweep) == outcome(done_three)
    assert jobs_of(sweep).popitem()[1]["sweep_id"] != jobs_of(done_three).popitem()[1]["sweep_id"]


def test_the_same_job_twice_is_done_once(run_stage: Run) -> None:
    sweep = run_stage("-m", *SHORT, "target_age=20", "photos_per_batch=1,1")
    (job,) = jobs_of(sweep).values()
    assert (job["job"], job["outputs"]) == ("0", "4")
    assert "done already" in (sweep / "0" / "edit.log").read_text()


def test_a_new_photo_is_not_taken_for_done(run_stage: Run, photos: Path) -> None:
    overrides = (
        "-m",
        *SHORT[2:],
        "data=folder",
        f"data.path={photos}",
        "prepare.align=false",
        "prepare.require_face=false",
    )
    overrides += ("prepare.steps=3", "prepare.size=256")
    sweep = run_stage(*overrides, "target_age=20")
    Image.new("RGB", (256, 256), "grey").save(photos / "c.png")
    build_prepare._people.cache_clear()  # as in another process
    run_stage(*overrides, "target_age=20", RESUME)
    assert [row["photo"] for row in rows_of(sweep / "0")] == ["a", "a", "b", "b", "c", "c"]


def test_without_resume_a_sweep_with_jobs_is_refused(run_stage: Run, sweep: Path) -> None:
    before = outcome(sweep)
    with pytest.raises(SystemExit) as exit:
        run_stage("-m", *SHORT, "target_age=20")
    remedy = "sweep.resume=true goes on with them, or choose another hydra.sweep.dir"
    assert exit.value.code == f"error: {sweep} holds 2 jobs of a sweep; {remedy}"
    with pytest.raises(SystemExit) as exit:
        run_stage("-m", "data=faces", stage="prepare")
    assert exit.value.code == f"error: {sweep} holds 2 jobs of a sweep; choose another hydra.sweep.dir"
    assert outcome(sweep) == before


def test_another_loss_is_another_job(run_stage: Run, sweep: Path) -> None:
    before = outcome(sweep)
    run_stage("-m", *SHORT, "target_age=20,70", "loss.aging=1", RESUME)
    after = outcome(sweep)
    assert len(after) == 4
    assert {key: after[key] for key in before} == before
    assert sorted(job["job"] for job in jobs_of(sweep).values()) == ["0", "1", "2", "3"]


def test_failures_are_listed_and_mended_by_resuming(
    run_stage: Run, done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = edit.Edit._record

    def failing(self: edit.Edit, row: dict) -> None:
        if row["target_age"] == 70 and row["output"] == 1:
            raise OSError(errno.ENOSPC, "No space left on device", "results.jsonl")
        original(self, row)

    monkeypatch.setattr(edit.Edit, "_record", failing)
    with pytest.raises(SystemExit) as exit:
        run_stage("-m", *SHORT, "target_age=20,70")
    assert exit.value.code == 1
    monkeypatch.undo()
    captured = capsys.readouterr().err
    sweep = run_stage("-m", *SHORT, "target_age=20,70", RESUME)
    listed = "job 1 failed: OSError: [Errno 28] No space left on device: 'results.jsonl'; see "
    assert f"{listed}{sweep / '1' / 'edit.log'}" in captured.splitlines()
    assert {job["status"] for job in jobs_of(sweep).values()} == {"finished"}
    assert outcome(sweep) == outcome(done)


def test_jobs_without_a_value_or_beyond_a_range_say_so(run_stage: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_stage("-m", *SHORT[:3], "method=transform,reference_mixing", "target_age=20,200")
    error = capsys.readouterr().err
    assert "job 1 failed: target_age must lie in the age estimator's 0..80 years, got 200" in error
    for job in (2, 3):
        assert f"job {job} failed: method.references has no value; set it with method.references=...; see " in error
    sweep = run_stage("-m", *SHORT[:3], "method=transform", "target_age=20,70", RESUME)
    assert by_age(sweep)["70"]["status"] == "finished"
    assert "not finished, and not asked for this time: job 1, 2, 3" in capsys.readouterr().err


def test_failed_outputs_are_named_and_tried_again(
    run_stage: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("out of something")

    monkeypatch.setattr(making, "draw", failing)
    with pytest.raises(SystemExit):
        run_stage("-m", *SHORT, "target_age=20", directory="sweep")
    assert re.search(r"job 0 failed: .*4 outputs failed.*RuntimeError: out of something; see ", capsys.readouterr().err)
    monkeypatch.undo()
    sweep = run_stage("-m", *SHORT, "target_age=20", RESUME, directory="sweep")
    (job,) = jobs_of(sweep).values()
    assert (job["outputs"], job["failures"], job["reason"]) == ("4", "0", "")


def test_interrupted_and_resumed(
    run_stage: Run, done_three: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = edit.Edit._record

    def interrupting(self: edit.Edit, row: dict) -> None:
        original(self, row)
        if row["target_age"] == 40:
            raise KeyboardInterrupt

    monkeypatch.setattr(edit.Edit, "_record", interrupting)
    overrides = ("-m", *SHORT, "target_age=20,40,70")
    with pytest.raises(SystemExit) as exit:
        run_stage(*overrides, directory="sweep")
    assert exit.value.code == 130
    assert json.loads((tmp_path / "sweep" / "1" / "summary.json").read_text())["status"] == "interrupted"
    monkeypatch.undo()
    sweep = run_stage(*overrides, RESUME, directory="sweep")
    assert outcome(sweep) == outcome(done_three)


def test_two_sweeps_at_once_are_refused(run_stage: Run, sweep: Path) -> None:
    with lock(sweep / ".lock"), pytest.raises(SystemExit) as exit:
        run_stage("-m", *SHORT, "target_age=40", RESUME)
    assert f"error: {sweep} is in use by process {os.getpid()} on " in str(exit.value.code)
    assert len(jobs_of(sweep)) == 2


def test_a_job_that_outlived_its_sweep_is_left_alone(
    run_stage: Run, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (sweep / "1" / "results.jsonl").read_bytes()
    (sweep / "1" / "summary.json").write_text('{"status": "running"}')
    with lock(sweep / "1" / ".lock"), pytest.raises(SystemExit) as exit:
        run_stage("-m", *SHORT, "target_age=20,70", RESUME)
    assert exit.value.code == 1
    assert "job 1 running: another process is at it; see " in capsys.readouterr().err
    assert (sweep / "1" / "results.jsonl").read_bytes() == rows
    assert (sweep / "1" / "summary.json").read_text() == '{"status": "running"}'
    run_stage("-m", *SHORT, "target_age=20,70", RESUME)
    assert {job["status"] for job in jobs_of(sweep).values()} == {"finished"}


def test_a_directory_that_cannot_be_made_is_one_line(run_stage: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as exit:
        run_stage("-m", *SHORT, "target_age=20", directory="file/sweep")
    assert str(exit.value.code).startswith("error: [Errno 20] Not a directory")


def test_a_relative_folder_is_refused_where_the_jobs_start_elsewhere() -> None:
    cluster = OmegaConf.create({"ray": {"init": {"address": "auto"}}})
    with pytest.raises(AdfdError, match=r"hydra\.sweep\.dir=here is relative, .*; give absolute paths"):
        check_reach(Path("here"), cluster)
    check_reach(Path("/there"), cluster)
    for own in ({"ray": {"init": {"address": None}}}, {"n_jobs": 2}):
        check_reach(Path("here"), OmegaConf.create(own))


def test_other_stages_sweep_too(run_stage: Run) -> None:
    sizes = ("analysis.n_samples=20,30", "analysis.n_pairs=20", "analysis.n_permutations=5", "gallery.rows=0")
    sweep = run_stage("-m", *sizes, stage="analyze")
    assert [job["status"] for job in jobs_of(sweep).values()] == ["finished"] * 2


@pytest.mark.parametrize(
    ("launcher", "plugin", "settings"),
    [
        ("joblib", "hydra_joblib_launcher", ["hydra.launcher.n_jobs=2"]),
        pytest.param(
            *("submitit_local", "hydra_submitit_launcher", ["hydra.sweeper.max_batch_size=2"]), marks=pytest.mark.slow
        ),
        pytest.param("ray", "hydra_ray_launcher", ["+hydra.launcher.ray.init.num_cpus=2"], marks=pytest.mark.slow),
    ],
)
def test_launchers_find_the_same(run_stage: Run, done: Path, launcher: str, plugin: str, settings: list[str]) -> None:
    pytest.importorskip(f"hydra_plugins.{plugin}", reason="pip install '.[launchers]' brings this launcher")
    overrides = ("-m", *SHORT, "target_age=20,70")
    chosen = (f"hydra/launcher={launcher}", *settings)
    other = run_stage(*overrides, *chosen, directory="other")
    assert outcome(done) == outcome(other)
    assert [job["job"] for job in jobs_of(other).values()] == ["0", "1"]
    rows = (other / "1" / "results.jsonl").read_text().splitlines()
    (other / "1" / "results.jsonl").write_text(rows[0] + "\n")
    with pytest.raises(SystemExit):
        run_stage(*overrides, *chosen, "data.seeds=[1,2],[-1]", RESUME, directory="other")
    jobs = jobs_of(other)
    assert {key: value for key, value in outcome(other).items() if key in jobs_of(done)} == outcome(done)
    failed = [job["reason"] for job in jobs.values() if job["status"] == "failed"]
    assert failed == ["data.seeds must lie in 0..4294967295, got -1"] * 2
    assert "job 0: done already" in (other / "0" / "edit.log").read_text()
    assert "job 1: goes on, 1 outputs" in (other / "1" / "edit.log").read_text()


def test_schemas_are_found_by_name_in_worker_processes() -> None:
    nodes = [value for name, value in vars(schema).items() if name.endswith("Node")]
    assert len(nodes) > 15
    for node in nodes:
        assert pickle.loads(pickle.dumps(node)) is node


def test_a_search_for_lambdas_is_resumed(run_stage: Run) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="pip install '.[tune]' brings Optuna")
    overrides = ("-m", *SHORT, "target_age=[20,70]", "hydra/sweeper=lambdas")
    whole = run_stage(*overrides, "hydra.sweeper.n_trials=3", directory="whole")
    run_stage(*overrides, "hydra.sweeper.n_trials=2", directory="parts")
    parts = run_stage(*overrides, "hydra.sweeper.n_trials=3", RESUME, directory="parts")
    assert outcome(parts) == outcome(whole)
    assert "job 1: done already" in (parts / "1" / "edit.log").read_text()
    best = max(float(job["harmonic"]) for job in jobs_of(whole).values())
    for sweep in (whole, parts):
        assert OmegaConf.load(sweep / "optimization_results.yaml").best_value == pytest.approx(best)


def test_the_table_of_a_sweep_holds_no_formula(tmp_path: Path) -> None:
    job = dict.fromkeys(COLUMNS, "=1+1") | {"overrides": ["+foo=1", "@a"], "outputs": 3, "age_error": -1.5}
    write_csv(tmp_path / "sweep.csv", [job])
    with (tmp_path / "sweep.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["overrides"] == "'+foo=1 @a"
    assert row["reason"] == row["status"] == "'=1+1"
    assert (row["outputs"], row["age_error"]) == ("3", "-1.5")
