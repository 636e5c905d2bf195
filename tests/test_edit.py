"""The edit stage on tiny networks, as its command line runs it."""

from __future__ import annotations

import csv
import errno
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adfd.config import build_edit, build_prepare, build_shared
from adfd.methods.anchors import Anchors
from adfd.methods.refine import Sample
from adfd.runs import edit, making, showing
from adfd.runs.directory import RunDirectory
from adfd.runs.making import Making
from adfd.stylespace.regions import REGIONS
from tests.conftest import QUICK, rows_of
from tests.processes import start

Run = Callable[..., Path]
SHORT = (*QUICK, "refine.max_steps=3", "logger=none")
AS_THEY_ARE = ("prepare.align=false", "prepare.require_face=false")
FACES = ("data=faces", "data.seeds=[1,2]", *SHORT)
FIELDS = {
    *("photo", "output", "method", "target_age", "anchor_age", "age", "id_similarity_source", "id_similarity_anchor"),
    *("loss", "loss_aging", "loss_id", "loss_l2", "loss_perceptual", "loss_gender"),
    *("steps", "seconds", "converged", "seed", "image"),
}


def comparable(rows: list[dict]) -> dict[tuple, dict]:
    """Rows by output, without what the clock says."""
    keyed = {(r["photo"], r["target_age"], r["output"]): r for r in rows}
    return {key: {k: v for k, v in row.items() if k != "seconds"} for key, row in keyed.items()}


def test_run_directory_is_complete(run_stage: Run) -> None:
    run = run_stage(
        *FACES, "method.n_outputs=2", "target_age=[20,70]", "loss=paper", "logger=csv", "logger.every_n_steps=1"
    )
    rows = rows_of(run)
    assert {(r["photo"], r["target_age"], r["output"]) for r in rows} == {
        (p, t, k) for p in ("seed1", "seed2") for t in (20, 70) for k in (0, 1)
    }
    assert len(rows) == 8
    for row in rows:
        assert set(row) >= FIELDS
        assert row["status"] == "ok"
        assert Image.open(run / row["image"]).size == (32, 32)
        assert row["loss"] == pytest.approx(
            5 * row["loss_aging"] + 0.1 * row["loss_id"] + 0.01 * (row["loss_l2"] + row["loss_perceptual"])
        )
        assert sum(row[f"change_{region}"] for region in REGIONS) == pytest.approx(1)
        code = np.load(run / "latents" / f"{row['photo']}_age{row['target_age']:g}_{row['output']}.npz")["s"]
        assert code.shape == (104,)
    for photo in ("seed1", "seed2"):
        assert (run / "images" / f"{photo}_source.png").exists()
        for age in (20, 70):
            assert (run / "images" / f"{photo}_age{age}_anchor.png").exists()
            assert Image.open(run / "sheets" / f"{photo}_age{age}.png").width > 4 * 256
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["outputs"], summary["failures"]) == ("finished", 8, 0)
    assert summary["age_error"] == pytest.approx(np.mean([abs(r["age"] - r["target_age"]) for r in rows]))
    assert summary["diversity"] > 0
    assert summary["diversity_metric"] == "face_features"
    steps = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    assert len(steps) == 8 * 4
    assert {"photo", "target_age", "output", "step", "loss", "age"} <= set(steps[0])
    metrics = list(csv.DictReader((run / "metrics.csv").open()))
    assert {"output/age", "loss/seed1_age70_0"} <= {line["metric"] for line in metrics}
    assert (run / ".hydra" / "config.yaml").exists()
    assert (run / "edit.log").read_text()


@pytest.mark.parametrize("method", ["transform", "style_mixing", "guided"])
def test_other_methods(run_stage: Run, method: str) -> None:
    rows = rows_of(run_stage(*FACES, f"method={method}", "target_age=30"))
    assert len(rows) == (10 if method == "style_mixing" else 2)
    assert all(row["method"] == method and row["status"] == "ok" for row in rows)
    if method == "transform":
        assert all(row["age"] == pytest.approx(row["anchor_age"], abs=1e-3) for row in rows)


@pytest.mark.thorough
def test_same_seed_same_rows_alone_batched_reordered_and_in_a_sweep(run_stage: Run) -> None:
    common = ("method.n_outputs=2", "target_age=70", *SHORT, "data=faces")
    together = comparable(rows_of(run_stage(*common, "data.seeds=[1,2]", directory="a")))
    again = comparable(rows_of(run_stage(*common, "data.seeds=[1,2]", directory="again")))
    assert together == again
    reordered = rows_of(run_stage(*common, "data.seeds=[2,1]", directory="b"))
    assert together == comparable(reordered)
    alone = rows_of(run_stage(*common, "data.seeds=[2]", "photos_per_batch=1", directory="c"))
    assert {key: row for key, row in together.items() if key[0] == "seed2"} == comparable(alone)
    sweep = run_stage(
        "-m", *common[:1], *SHORT, "data=faces", "data.seeds=[1,2]", "target_age=10,70", directory="sweep"
    )
    assert together == comparable(rows_of(sweep / "1"))
    other_seed = comparable(rows_of(run_stage(*common, "data.seeds=[1,2]", "seed=1", directory="d")))
    key = ("seed1", 70.0, 0)
    assert other_seed[key]["loss"] != together[key]["loss"]


@pytest.mark.thorough
def test_sweep_leaves_a_table_and_one_contact_sheet(run_stage: Run, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = run_stage("-m", *FACES, "target_age=10,70", "loss.aging=1,5", "method.n_outputs=2")
    lines = list(csv.DictReader((sweep / "sweep.csv").open()))
    assert [line["job"] for line in lines] == ["0", "1", "2", "3"]
    assert "target_age=10" in lines[0]["overrides"]
    assert all(line["status"] == "finished" and line["outputs"] == "4" for line in lines)
    printed = capsys.readouterr().out.rstrip().splitlines()
    assert printed[-1] == f"contact sheet: {sweep / 'contact_sheet.png'}"
    assert Image.open(sweep / "contact_sheet.png").height > 8 * 256


@pytest.mark.thorough
def test_sweep_loads_networks_and_renders_anchors_once(run_stage: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    build_shared._networks.cache_clear()
    build_prepare._people.cache_clear()
    build_edit._anchors.cache_clear()
    run_stage("-m", *FACES, "target_age=70", "loss.aging=1,5,10", "method.n_outputs=1")
    assert build_shared._networks.cache_info().misses == 1
    assert build_prepare._people.cache_info().misses == 1
    assert build_edit._anchors.cache_info().misses == 1
    assert build_edit._anchors.cache_info().hits == 2


@pytest.mark.thorough
def test_failing_job_does_not_stop_the_sweep(run_stage: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        run_stage("-m", *FACES, "target_age=10,200", "method=transform", directory="s")
    assert exit.value.code == 1
    captured = capsys.readouterr()
    assert "job 1 failed: target_age must lie in the age estimator's 0..80 years, got 200" in captured.err


@pytest.mark.thorough
def test_two_ranks_share_the_photos_and_the_run(run_stage: Run, tmp_path: Path) -> None:
    common = ("data=faces", "data.seeds=[1,2,3]", *SHORT, "method.n_outputs=1")
    alone = comparable(rows_of(run_stage(*common)))
    shared = tmp_path / "shared"
    stack = ("model=tiny", "hardware=cpu", "hardware.devices=2", f"hydra.run.dir={shared}")
    first = start("adfd.__main__", *stack, *common, environment={"OMP_NUM_THREADS": "1"})  # it starts the second
    first.join(300)
    assert first.exitcode == 0
    assert comparable(rows_of(shared)) == alone
    assert json.loads((shared / "summary.json").read_text())["outputs"] == 3


def test_started_again_a_run_keeps_what_is_done(run_stage: Run, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = (*FACES, "method.n_outputs=2")
    run = run_stage(*overrides)
    before = rows_of(run)
    kept = [row for row in before if (row["photo"], row["output"]) != ("seed2", 1)]
    (run / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept) + '{"photo": "se')
    run_stage(*overrides)
    lines = (run / "results.jsonl").read_text().splitlines()
    assert lines[:3] == [json.dumps(row) for row in kept]
    assert lines[3] == '{"photo": "se'
    after = [json.loads(line) for line in lines[:3] + lines[4:]]
    assert comparable(before) == comparable(after)
    assert len(after) == 4


def test_another_configuration_may_not_write_into_a_run(run_stage: Run) -> None:
    run = run_stage(*FACES, "method=transform")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as exit:
        run_stage(*FACES, "method=transform", "target_age=30")
    assert "holds results of another configuration; choose another hydra.run.dir" in str(exit.value.code)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()} == before


def test_a_failing_photo_is_a_row_and_the_rest_goes_on(
    run_stage: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = making.draw

    def failing(seed: int, names: tuple[str, ...], *rest: object) -> object:
        if "seed1" in names:
            raise RuntimeError("out of something")
        return original(seed, names, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(making, "draw", failing)
    run = run_stage(*FACES, "method.n_outputs=1")
    rows = {row["photo"]: row for row in rows_of(run)}
    assert rows["seed1"]["status"] == "failed"
    assert rows["seed1"]["reason"] == "RuntimeError: out of something"
    assert rows["seed2"]["status"] == "ok"
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["outputs"], summary["failures"]) == ("finished", 1, 1)
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "1 of 2 outputs failed; results.jsonl and photos.csv in the run directory say why"


def test_full_disk_ends_the_run_with_one_line(
    run_stage: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", "images/seed1.png")

    monkeypatch.setattr(RunDirectory, "save_image", full)
    with pytest.raises(SystemExit):
        run_stage(*FACES, "method.n_outputs=1")
    error = capfd.readouterr().err
    assert "error: [Errno 28] No space left on device: 'images/seed1.png'" in error
    assert "Traceback" not in error


def test_nan_is_a_row_and_a_run_of_nothing_else_has_failed(
    run_stage: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        run_stage(*FACES, "method.n_outputs=2", "method.perturbation.scale=1e30")
    assert exit.value.code == 1
    lines = capfd.readouterr()
    assert "error: all 4 outputs failed: " in lines.err
    assert "4 of 4 outputs failed; results.jsonl" in lines.out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["failures"]) == ("failed", 4)
    assert summary["reason"].startswith("all 4 outputs failed: ")
    rows = rows_of(tmp_path / "run")
    assert [row["status"] for row in rows] == ["failed"] * 4
    assert all("loss became" in row["reason"] and row["image"] is None for row in rows)


def test_interruption_leaves_a_readable_run(run_stage: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    original, write = edit.read_output, RunDirectory.save_image

    def interrupted(making: Making, anchors: Anchors, sample: Sample, target_age: float) -> tuple:
        if sample.output == 2:
            raise KeyboardInterrupt
        return original(making, anchors, sample, target_age)

    def slow(self: RunDirectory, name: str, img: torch.Tensor) -> str:
        time.sleep(0.1)  # the pictures made before are still being written
        return write(self, name, img)

    monkeypatch.setattr(edit, "read_output", interrupted)
    monkeypatch.setattr(RunDirectory, "save_image", slow)
    with pytest.raises(SystemExit) as exit:
        run_stage(*FACES, "method.n_outputs=3", "refine.batch_size=1", directory="run")
    assert exit.value.code == 130


def test_run_interrupted_keeps_rows_and_says_so(
    tmp_path: Path, run_stage: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_interruption_leaves_a_readable_run(run_stage, monkeypatch)
    run = tmp_path / "run"
    assert len(rows_of(run)) == 2
    assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
    monkeypatch.undo()


def test_users_mistake_is_one_line(run_stage: Run, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as exit:
        run_stage("data=folder", f"data.path={tmp_path / 'nowhere'}", *SHORT)
    assert exit.value.code == 1
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert any(line.startswith("error: ") and "nowhere" in line for line in error.splitlines())


@pytest.mark.thorough
def test_photos_in_a_folder(run_stage: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from skimage import data

    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(data.astronaut()).save(folder / "eileen.jpg", quality=95)
    Image.new("RGB", (300, 300), "grey").save(folder / "wall.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    run = run_stage(
        "data=folder", f"data.path={folder}", "prepare.steps=3", "prepare.size=256", "method.n_outputs=1", *SHORT
    )
    (row,) = rows_of(run)
    assert (row["photo"], row["status"]) == ("eileen", "ok")
    records = {line["name"]: line for line in csv.DictReader((run / "photos.csv").open())}
    assert records["wall"]["reason"] == "no face found"
    assert "broken.jpg" in records["broken"]["reason"] or records["broken"]["reason"]
    skipped = json.loads((run / "summary.json").read_text())["skipped_photos"]
    assert set(skipped) == {"wall", "broken"}
    assert row["file"] == "eileen.jpg"
    assert "2 photos were left out; results.jsonl" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.thorough
def test_prepare_and_analyze_stages(run_stage: Run, tmp_path: Path) -> None:
    run = run_stage("data=portrait", "prepare.steps=2", "prepare.size=256", stage="prepare", directory="p")
    (record,) = csv.DictReader((run / "photos.csv").open())
    assert (record["name"], record["status"]) == ("portrait", "ready")
    run = run_stage(stage="analyze", directory="a")
    with np.load(run / "channels.npz") as channels:
        assert channels["coef_age"].shape == (104,)
        assert channels["n_samples"] == 2000


def test_wrong_channels_file_is_one_line(run_stage: Run, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_stage(*FACES, "model.channels=adfd/data/mobilestylegan-ffhq-1024.npz")
    assert "was made for generator mobilestylegan-ffhq-1024, not tiny-0" in capfd.readouterr().err


def test_what_a_stack_lacks_is_one_line(run_stage: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Missing files, or no channels file where the method needs one."""
    with pytest.raises(SystemExit):
        run_stage("model=sam", f"paths.root={tmp_path}", "data=faces", directory="missing")
    reason = json.loads((tmp_path / "missing" / "summary.json").read_text())["reason"]
    assert reason.startswith(f"3 files of weights are missing: {tmp_path}/pretrained_models/sam_ffhq_aging.pt")
    with pytest.raises(SystemExit):
        run_stage(*FACES, "model.channels=null", directory="channels")
    reason = json.loads((tmp_path / "channels" / "summary.json").read_text())["reason"]
    assert reason.startswith("model.channels has no value, and this method needs a channels file; make a channels file")


@pytest.mark.thorough
def test_fitted_channels_are_those_of_the_last_analysis(run_stage: Run, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_stage(*FACES, "method=transform", "channels=fitted", directory="early")
    assert "tiny-0.npz does not exist; make one with: python -m adfd.analyze" in capfd.readouterr().err
    run_stage("analysis.n_samples=50", "analysis.n_permutations=5", "gallery.rows=0", stage="analyze", directory="a")
    build_shared._networks.cache_clear()
    run = run_stage(*FACES, "method=transform", "channels=fitted")
    assert {row["status"] for row in rows_of(run)} == {"ok"}
    with pytest.raises(SystemExit):
        run_stage(
            *FACES, "channels=published", "model.channels=tests/golden/reference_channels.pkl", directory="published"
        )
    assert "was made for generator stylegan2-ffhq-1024, not tiny-0" in capfd.readouterr().err


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["transform", "guided"])
def test_lifespan_strips_and_animations(run_stage: Run, method: str) -> None:
    moving = ("animation=both", "animation.fps=5", "animation.size=64")
    overrides = (*FACES, f"method={method}", "target_age=[60,20,40]", *moving)
    run = run_stage(*overrides)
    for photo in ("seed1", "seed2"):
        assert Image.open(run / "sheets" / f"{photo}_lifespan.png").width == 8 + 4 * (256 + 8)
        with Image.open(run / "animations" / f"{photo}.gif") as gif:
            assert gif.n_frames == 11
        assert (run / "animations" / f"{photo}.mp4").exists()
    strip = np.asarray(Image.open(run / "sheets" / "seed1_lifespan.png").convert("RGB"))
    for i, name in enumerate(("source", "age20_0", "age40_0", "age60_0")):  # youngest first
        picture = Image.open(run / "images" / f"seed1_{name}.png").resize((256, 256), Image.Resampling.LANCZOS)
        x = 8 + i * 264
        assert np.array_equal(strip[30 : 30 + 256, x : x + 256], np.asarray(picture))
    times = {path: path.stat().st_mtime_ns for path in (run / "animations").iterdir()}
    run_stage(*overrides)
    assert {path: path.stat().st_mtime_ns for path in (run / "animations").iterdir()} == times


@pytest.mark.thorough
def test_animations_of_several_outputs_and_of_too_few_ages(
    run_stage: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    common = ("data=faces", "data.seeds=[1]", *SHORT, "target_age=[20,60]", "animation=gif", "animation.fps=2")
    run = run_stage(*common, "method=style_mixing", "method.n_outputs=2")
    assert sorted(path.name for path in (run / "animations").iterdir()) == ["seed1_0.gif", "seed1_1.gif"]
    assert not (run / "sheets" / "seed1_lifespan.png").exists()
    original = edit.Edit._make

    def failing(self: edit.Edit, anchors: object, wanted: object, target_age: float) -> None:
        if target_age == 60:
            raise RuntimeError("out of something")
        original(self, anchors, wanted, target_age)  # type: ignore[arg-type]

    monkeypatch.setattr(edit.Edit, "_make", failing)
    run = run_stage(*common, "method=transform", directory="partly")
    assert not (run / "animations").exists()
    assert Image.open(run / "sheets" / "seed1_lifespan.png").width == 8 + 2 * 264
    assert "no animation of seed1" in (run / "edit.log").read_text()


@pytest.mark.thorough
def test_a_failing_animation_spares_the_run(run_stage: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(showing, "animate", failing)
    run = run_stage(*FACES, "method=transform", "target_age=[20,60]", "animation=gif")
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    assert "the animation of seed2 failed: OSError: disk full" in (run / "edit.log").read_text()


def test_reference_mixing_has_one_output_for_each_reference(run_stage: Run, tmp_path: Path) -> None:
    folder = tmp_path / "references"
    folder.mkdir()
    for name, colour in (("dark", 40), ("light", 200)):
        Image.new("RGB", (256, 256), (colour, colour, colour)).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"")
    common = (*FACES, "method=reference_mixing", f"method.references={folder}")
    prepared = (*AS_THEY_ARE, "prepare.steps=2", "prepare.size=256")
    run = run_stage(*common, *prepared, "method.layers=[4,5]", "method.strength=0.5", "target_age=40")
    rows = rows_of(run)
    assert {(r["photo"], r["output"], r["reference"], r["status"]) for r in rows} == {
        (photo, k, name, "ok") for photo in ("seed1", "seed2") for k, name in enumerate(("dark", "light"))
    }
    assert Image.open(run / "sheets" / "seed1_age40.png").width == 8 + 4 * 264
    records = {line["name"]: line["status"] for line in csv.DictReader((run / "references.csv").open())}
    assert records == {"broken": "skipped", "dark": "ready", "light": "ready"}
    assert rows_of(run_stage(*FACES, "method=transform", directory="other"))[0]["reference"] is None


def test_mistakes_in_reference_mixing_are_one_line(
    run_stage: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (256, 256)).save(tmp_path / "a.png")
    common = (
        *FACES,
        "method=reference_mixing",
        "prepare.align=false",
        "prepare.require_face=false",
        "prepare.steps=1",
        "prepare.size=256",
    )
    for override, message in (
        (f"method.references={tmp_path}/absent", "absent does not exist"),
        (f"method.references={tmp_path}/a.png", "method.layers is empty; name rows of w_plus, 0..7"),  # 32 px in all
        (f"method.references={tmp_path}/a.png method.layers=[9]", "method.layers must lie in 0..7"),
    ):
        with pytest.raises(SystemExit):
            run_stage(*common, *override.split(), directory=f"run{len(override)}")
        assert message in capfd.readouterr().err
