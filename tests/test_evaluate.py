"""The evaluate stage on runs of tiny networks, as its command line runs it; its tables and figures."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from adfd.basics.errors import AdfdError
from adfd.config import build_evaluate, build_independent, build_shared
from adfd.evaluation import calibration, jobs, measuring, panel
from adfd.evaluation.bank import FEATURES, WIDE
from adfd.evaluation.bootstrap import Bootstrap
from adfd.evaluation.foreign import Folder, parse
from adfd.evaluation.jobs import Estimate, Job, find_runs, label, steering
from adfd.faces.photos import as_img
from adfd.models import fetch, judges
from adfd.models.judges import judge_names
from adfd.models.networks import Networks
from adfd.models.tiny import load_tiny
from adfd.models.views import ONE_VIEW
from adfd.report import figures, judge_figures, paper_tables
from tests.conftest import rows_of, run_in

Run = Callable[..., Path]
EDIT = (
    *("data=faces", "data.seeds=[1,2]", "method.n_outputs=2", "method.perturbation.scale=1", "loss=paper"),
    *("refine.max_steps=1", "logger=none"),
)
PATTERN = r"(?P<photo>.+)_age(?P<age>\d+(?:\.\d+)?)(?:_(?P<output>\d+))?"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two outputs of two people, made once."""
    return run_in(tmp_path_factory.mktemp("made"), *EDIT)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to evaluate and to spoil."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def evaluate(run_stage: Run, runs: Path | str, *overrides: str, directory: str = "evaluation") -> Path:
    return run_stage(f"runs={runs}", *overrides, stage="evaluate", directory=directory)


def metrics_of(directory: Path) -> dict:
    return json.loads((directory / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def img_of(path: Path) -> torch.Tensor:
    return as_img(Image.open(path).convert("RGB"))


@pytest.mark.skipif(bool(panel.missing()) or not fetch.ALEXNET.is_there(), reason=fetch.REMEDY)
@pytest.mark.thorough
def test_independent_judges_come_first_and_read_once(
    run: Path, run_stage: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = evaluate(run_stage, run, "cyclic=false")
    heads = next(csv.reader((output / "table.csv").open()))
    assert heads.index("age_gap") < heads.index("age_error")
    notes = (output / "table.md").read_text()
    assert "panel: faceres and face-api (calibrated to dlib's years), not in the loss" in notes
    assert "lpips: LPIPS v0.1 AlexNet, not in the loss" in notes
    known = calibration.shipped()
    judges = panel.load_panel()
    row = rows_of(run)[0]
    readings = [judges.read(img_of(run / name)) for name in (row["image"], f"images/{row['photo']}_age70_anchor.png")]
    ages = [known.panel(r.faceres_age.numpy(), r.faceapi_age.numpy())[0] for r in readings]
    lines = [json.loads(line) for line in (run / "measurements.jsonl").read_text().splitlines()]
    read = next(line for line in lines if line["judges"] == "independent")
    assert known.panel(read["faceres_age"], read["faceapi_age"]) == pytest.approx(ages[0], abs=0.01)
    assert known.panel(read["faceres_age_anchor"], read["faceapi_age_anchor"]) == pytest.approx(ages[1], abs=0.01)
    assert "age_gap" in metrics_of(run)["quantities"]
    monkeypatch.setattr(panel, "load_panel", lambda: pytest.fail("read again"))
    build_independent._panel.cache_clear()
    evaluate(run_stage, run, "cyclic=false", directory="again")


@pytest.mark.thorough
def test_lpips_in_the_loss_is_called_so_and_measured_once(run_stage: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fetch.ALEXNET.is_there():
        pytest.skip(fetch.REMEDY)
    run = run_stage(*EDIT, "model.perceptual=lpips")
    monkeypatch.setattr(measuring, "distances_to_others", lambda *_: pytest.fail("measured twice"))
    notes = (evaluate(run_stage, run, "cyclic=false") / "table.md").read_text()
    assert "lpips: LPIPS v0.1 AlexNet, in the loss" in notes
    assert "diversity: lpips, in the loss" in notes
    quantities = metrics_of(run)["quantities"]
    assert quantities["diversity"]["mean"] == quantities["lpips"]["mean"] > 0


@pytest.mark.parametrize("views", [{"flip": True}, {"flip": True, "shift": 8, "zooms": "much"}, 7])
def test_views_of_another_form_are_refused(views: object) -> None:
    record = jobs.Record(Path("/run"), "diversify", (), "", {"views": views}, {})
    with pytest.raises(AdfdError, match="/run: views are not of the kind"):
        build_evaluate.views_of(record)
    assert build_evaluate.views_of(replace(record, config={})) == ONE_VIEW


def test_missing_judges_are_named_and_nothing_else_fails(
    run: Path, run_stage: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADFD_CACHE", str(tmp_path / "empty"))
    output = evaluate(run_stage, run, "cyclic=false")
    quantities = metrics_of(run)["quantities"]
    assert "age_error" in quantities
    assert "age_gap" not in quantities
    notes = (output / "table.md").read_text()
    assert "panel: missing" in notes
    assert "lpips: missing" in notes


@pytest.mark.thorough
def test_metrics_agree_with_independent_computations(run_stage: Run, tiny: Networks) -> None:
    run = run_stage(*EDIT, "target_age=[20,70]")
    untouched = (run / "results.jsonl").read_bytes()
    evaluate(run_stage, run)
    assert (run / "results.jsonl").read_bytes() == untouched
    metrics, rows = metrics_of(run), rows_of(run)
    quantities = {name: value["mean"] for name, value in metrics["quantities"].items()}
    assert quantities["age_error"] == pytest.approx(np.mean([abs(r["age"] - r["target_age"]) for r in rows]))
    assert quantities["age_error_anchor"] == pytest.approx(np.mean([abs(r["age"] - r["anchor_age"]) for r in rows]))
    for name in ("id_similarity_source", "id_similarity_anchor", "seconds", "evaluations"):
        assert quantities[name] == pytest.approx(np.mean([r[name] for r in rows]))
    assert quantities["failures"] == 0
    at_70 = [abs(r["age"] - 70) for r in rows if r["target_age"] == 70]
    assert metrics["by_target_age"]["70"]["age_error"]["mean"] == pytest.approx(np.mean(at_70))
    assert metrics["quantities"]["age_error"]["n_photos"] == 2
    assert metrics["quantities"]["age_error"]["n_outputs"] == 8

    distances, kept, cyclic = [], [], []
    for photo in ("seed1", "seed2"):
        source = img_of(run / f"images/{photo}_source.png")
        for age in (20, 70):
            group = [r for r in rows if (r["photo"], r["target_age"]) == (photo, age)]
            maps = [tiny.perceptual.features(img_of(run / r["image"])) for r in group]
            distances += [tiny.perceptual.distance(a, b).item() for a, b in combinations(maps, 2)]
            kept += [(r["p_female"] > 0.5) == (tiny.gender(source).exp()[0, 0].item() > 0.5) for r in group]
            for r in group:
                s = torch.from_numpy(np.load(run / f"latents/{photo}_age{age}_{r['output']}.npz")["s"])
                years = r["source_age"] - r["age"]
                step = tiny.transformer.younger_year if years < 0 else tiny.transformer.older_year
                back = tiny.synthesis((s + years * tiny.generator.affine_weight @ step)[None])  # linear in w
                cyclic.append(tiny.id_similarity(tiny.embed(back), tiny.embed(source)).item())
    assert quantities["diversity"] == pytest.approx(np.mean(distances), rel=1e-5)
    assert quantities["gender_kept"] == pytest.approx(np.mean(kept))
    assert quantities["id_similarity_cyclic"] == pytest.approx(np.mean(cyclic), rel=1e-4)
    assert metrics["judges"]["age"] == {"name": "random", "in_the_loss": True, "in_the_search": True}
    assert metrics["judges"]["gender"] == {"name": "random", "in_the_loss": False, "in_the_search": False}
    assert metrics["quantities"]["diversity"]["judges"]["diversity"]["name"] == "random face_features"


@pytest.mark.thorough
def test_a_second_evaluation_measures_nothing(run_stage: Run, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate(run_stage, run)
    first, kept = metrics_of(run), (run / "measurements.jsonl").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(build_shared, "_networks", lambda *_: pytest.fail("networks were loaded"))
        evaluate(run_stage, run, directory="again")
    assert metrics_of(run) == first
    assert (run / "measurements.jsonl").read_bytes() == kept

    lines = (run / "measurements.jsonl").read_text().splitlines(keepends=True)
    (run / "measurements.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])  # the last one cut short
    evaluate(run_stage, run, directory="mended")
    assert metrics_of(run) == first


@pytest.mark.thorough
def test_outputs_that_are_made_anew_are_measured_anew(run_stage: Run, run: Path) -> None:
    evaluate(run_stage, run)
    before = metrics_of(run)["quantities"]
    rows = rows_of(run)
    rows[0]["age"] += 1  # as another picture would read
    Image.new("RGB", (32, 32), "red").save(run / rows[0]["image"])
    with (run / "results.jsonl").open("a") as file:
        file.write(json.dumps(rows[0]) + "\n")
    evaluate(run_stage, run, directory="again")
    after = metrics_of(run)["quantities"]
    assert after["diversity"]["mean"] != before["diversity"]["mean"]
    assert after["sharpness"]["mean"] < before["sharpness"]["mean"]


@pytest.mark.thorough
def test_without_cyclic_none_is_reported_though_it_was_measured(run_stage: Run, run: Path) -> None:
    evaluate(run_stage, run, "cyclic=false")
    assert "id_similarity_cyclic" not in metrics_of(run)["quantities"]
    evaluate(run_stage, run, directory="with")
    assert "id_similarity_cyclic" in metrics_of(run)["quantities"]
    evaluate(run_stage, run, "cyclic=false", directory="without")
    assert "id_similarity_cyclic" not in metrics_of(run)["quantities"]


@pytest.mark.thorough
def test_a_sweep_leaves_tables_and_figures_beside_it_and_where_asked(
    run_stage: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = run_stage("-m", *EDIT, "target_age=20,70", "method.n_outputs=1", directory="sweep")
    output = evaluate(run_stage, sweep)
    assert (sweep / "table.md").read_text() == (output / "table.md").read_text()
    for folder in (sweep, output):
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.parent.name != ".hydra"}
        assert found >= {
            *("aggregate.json", "table.md", "table.tex", "table.csv", "table_by_age.md"),
            *("figures/id_similarity_source_over_age_error.svg", "figures/age_accuracy.png"),
            *("figures/contact_sheet.jpg", "report.html"),
        }
    aggregate = json.loads((output / "aggregate.json").read_text())
    assert [Path(job["directory"]).name for job in aggregate["jobs"]] == ["0", "1"]
    assert aggregate["jobs"][1]["label"] == "diversify target_age=70"
    assert aggregate["jobs"][1]["quantities"] == metrics_of(sweep / "1")["quantities"]
    lines = list(csv.DictReader((output / "table.csv").open()))
    assert float(lines[1]["age_error"]) == metrics_of(sweep / "1")["quantities"]["age_error"]["mean"]
    printed = capsys.readouterr().out.rstrip().splitlines()
    assert printed[-2:] == [f"tables and figures: {sweep}", f"page: {sweep / 'report.html'}"]


def test_failed_outputs_are_counted_and_cut_lines_are_not(run_stage: Run, run: Path) -> None:
    failed = rows_of(run)[0] | {"photo": "seed9", "status": "failed", "reason": "no luck", "age": None, "image": None}
    with (run / "results.jsonl").open("a") as file:
        file.write(json.dumps(failed) + "\n" + '{"photo": "seed9", "targ')
    evaluate(run_stage, run)
    metrics = metrics_of(run)
    assert metrics["quantities"]["failures"]["mean"] == 1
    assert metrics["quantities"]["failures"]["low"] is None
    assert metrics["quantities"]["age_error"]["n_outputs"] == 4
    assert [(f["photo"], f["reason"]) for f in metrics["failures"]] == [("seed9", "no luck")]


def test_a_run_without_outputs_is_a_row_without_numbers(run_stage: Run, run: Path) -> None:
    empty = run.parent / "empty"
    shutil.copytree(run / ".hydra", empty / ".hydra")
    (empty / "config_hash").write_text("0")
    output = evaluate(run_stage, f"[{run},{empty}]")
    metrics = metrics_of(empty)
    assert (metrics["status"], metrics["quantities"]) == ("lost", {})
    assert "| -- |" in (output / "table.md").read_text()
    assert not (run / "table.md").exists()  # several runs were named: their table is in neither


def test_a_missing_picture_leaves_the_others_measured(run_stage: Run, run: Path) -> None:
    (run / "images/seed2_age70_1.png").unlink()
    output = evaluate(run_stage, run)
    assert "seed2_age70_1.png is missing" in (output / "evaluate.log").read_text()
    quantities = metrics_of(run)["quantities"]
    assert quantities["sharpness"]["n_outputs"] == 2
    assert quantities["sharpness"]["low"] is None  # of one photo there is no interval
    assert quantities["age_error"]["n_outputs"] == 4


def test_other_judges_read_every_picture_anew_and_are_labelled(
    run_stage: Run, run: Path, monkeypatch: pytest.MonkeyPatch, tiny: Networks
) -> None:
    """The other stack is the tiny one under another name, its ages read 5 years higher."""
    own = metrics_of(evaluate(run_stage, run) and run)
    loaded = build_shared._networks
    names = {"age": "other age", "identity": "random", "gender": "random", "diversity": "random face_features"}
    stack = "adfd.models.load_other"

    def other(target: str, settings: str, *made: object) -> Networks:
        if target != stack:
            return loaded(target, settings, *made)
        networks = load_tiny()
        networks.age.register_forward_hook(lambda *args: args[-1] + 5)
        return networks

    monkeypatch.setattr(build_shared, "_networks", other)
    monkeypatch.setattr(
        judges, "judge_names", lambda model: names if model["_target_"] == stack else judge_names(model)
    )
    evaluate(run_stage, run, "judges=model", f"model._target_={stack}", "cyclic=false", directory="other")
    metrics = metrics_of(run)
    anew = [WIDE.read(tiny.age, img_of(run / row["image"]))[0].item() + 5 for row in rows_of(run)]
    files = [run / f"latents/{row['photo']}_age{row['target_age']:g}_{row['output']}.npz" for row in rows_of(run)]
    drawn = [tiny.synthesis(torch.from_numpy(np.load(file)["s"])[None]).clamp(-1, 1) for file in files]
    assert anew == pytest.approx([WIDE.read(tiny.age, img)[0].item() + 5 for img in drawn], abs=0.05)  # eight bits
    assert metrics["quantities"]["age"]["mean"] == pytest.approx(np.mean(anew), rel=1e-4)
    assert metrics["quantities"]["age"]["mean"] != own["quantities"]["age"]["mean"]
    assert metrics["judges"]["age"] == {"name": "other age", "in_the_loss": False, "in_the_search": False}
    assert metrics["judges"]["identity"]["in_the_loss"] is True
    assert metrics["quantities"]["id_similarity_source"] == own["quantities"]["id_similarity_source"]


def test_who_judges_in_each_stack() -> None:
    sam = judge_names({"_target_": "adfd.models.load_sam", "perceptual": "lpips"})
    mobile = judge_names({"_target_": "adfd.models.load_mobile"})
    assert (sam["age"], sam["identity"], sam["diversity"]) == ("DEX", "ArcFace", "lpips")
    assert (mobile["age"], mobile["diversity"]) == ("dlib age", "face_features")
    assert sam["gender"] == mobile["gender"]
    own = {"_target_": "adfd.models.load_stylegan2", "judges": "sam", "perceptual": "face_features"}
    assert judge_names(own)["age"] == "DEX"


def test_steering() -> None:
    refined = {"method": {"loss": {"aging": 5, "id": 0, "gender": 0}, "refinement": {"max_steps": 3}}}
    assert steering("age", refined) == "in the loss"
    assert steering("identity", refined) == "not in the loss"
    refined["method"]["anchor"] = "guided"
    assert steering("age", refined) == "in the loss and the search"
    refined["method"]["refinement"] = {"max_steps": 0}
    assert steering("age", refined) == "in the search"
    assert steering("age", {"method": {}}) == "not in the loss"


def test_runs_are_found_wherever_they_lie_and_in_order(run_stage: Run, tmp_path: Path) -> None:
    for name in ("sweep/10", "sweep/2", "deep/er/one"):
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / ".hydra" / "config.yaml").touch()
        (tmp_path / name / "config_hash").touch()
    (tmp_path / "other" / ".hydra").mkdir(parents=True)  # another stage's
    names = [path.relative_to(tmp_path).as_posix() for path in find_runs([tmp_path / "sweep", tmp_path])]
    assert names == ["sweep/2", "sweep/10", "deep/er/one"]
    with pytest.raises(AdfdError, match="absent does not exist"):
        find_runs([tmp_path / "absent"])
    with pytest.raises(AdfdError, match="other holds no run directory"):
        find_runs([tmp_path / "other"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "runs has no value; set it with runs=PATH"),
        (["runs=absent"], "absent does not exist"),
        (["runs=.", "judges=sam"], "judges must be run or model, got sam"),
        (["runs=.", "source=web"], "source must be runs or folder, got web"),
        (["runs=.", "table.columns=[age_eror]"], "table.columns must name quantities of age_gap, "),
        (["runs=.", "figures.trade_offs=[[age_error]]"], "figures.trade_offs must be a list of pairs"),
        (["runs=.", "figures.trade_offs=[[age_error,x]]"], "figures.trade_offs must name quantities"),
        (["runs=.", "batch_size=0"], "batch_size must be at least 1, got 0"),
        (["runs=.", "bootstrap.confidence=95"], "bootstrap.confidence must lie between 0 and 1"),
        (["source=folder"], "folder.path has no value; set it with folder.path=..."),
        (["source=folder", "folder.path=.", "folder.pattern='(?P<photo>.+)'"], "folder.pattern needs a group (?P<age>"),
        (["source=folder", "folder.path=.", "folder.pattern='('"], "folder.pattern is no regular expression"),
    ],
)
def test_mistakes_are_one_line(
    run_stage: Run, capfd: pytest.CaptureFixture[str], overrides: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        run_stage(*overrides, stage="evaluate")
    error = capfd.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.thorough
def test_a_folder_of_pictures(run_stage: Run, run: Path, tmp_path: Path, tiny: Networks) -> None:
    pictures, sources = tmp_path / "theirs", tmp_path / "photos"
    pictures.mkdir()
    sources.mkdir()
    rng = np.random.default_rng(0)

    def picture(path: Path, size: tuple[int, int] = (256, 256)) -> None:
        Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(path)

    for name in ("ann_age20_0", "ann_age20_3", "ann_age70", "bob_age70", "cyd_age70.5"):
        picture(pictures / f"{name}.png")
    for name in ("ann", "bob"):
        picture(sources / f"{name}.jpg")
    picture(pictures / "portrait.png")
    picture(pictures / "bob_age20.png", (256, 300))
    picture(pictures / "ann_age70_0.png")
    (pictures / "dan_age20.png").write_bytes(b"no picture")
    (pictures / "notes.txt").write_text("not a picture, and not counted")
    common = (
        "source=folder",
        f"folder.path={pictures}",
        f"folder.sources={sources}",
        "prepare.align=false",
        "prepare.require_face=false",
    )
    theirs = run_stage(*common, "prepare.size=256", stage="evaluate", directory="folder")
    metrics = metrics_of(theirs)
    assert set(metrics["skipped_photos"]) == {"portrait.png", "bob_age20.png", "dan_age20.png"}
    assert "does not match folder.pattern" in metrics["skipped_photos"]["portrait.png"]
    assert "must be a square crop" in metrics["skipped_photos"]["bob_age20.png"]
    rows = {(r["photo"], r["target_age"], r["output"]): r for r in rows_of(theirs)}
    assert set(rows) == {
        ("ann", 20, 0),
        ("ann", 20, 3),
        ("ann", 70, 0),
        ("ann", 70, 1),
        ("bob", 70, 0),
        ("cyd", 70.5, 0),
    }
    assert rows["ann", 70, 0]["file"].endswith("ann_age70_0.png")
    row = rows["bob", 70, 0]
    img, source = img_of(pictures / "bob_age70.png"), img_of(sources / "bob.jpg")
    asked = tiny.with_views(replace(WIDE, features=FEATURES))
    assert asked.reads_features
    assert row["age"] == pytest.approx(asked.read_age(img)[0].item(), rel=1e-4)
    similarity = tiny.id_similarity(tiny.embed(img), tiny.embed(source)).item()
    assert row["id_similarity_source"] == pytest.approx(similarity, rel=1e-4)
    assert rows["cyd", 70.5, 0]["id_similarity_source"] is None
    quantities = metrics["quantities"]
    assert quantities["age_error"]["n_photos"] == 3
    assert quantities["id_similarity_source"]["n_photos"] == 2
    assert quantities["diversity"]["n_outputs"] == 4
    assert not {"id_similarity_anchor", "id_similarity_cyclic", "seconds"} & set(quantities)
    assert (metrics["method"], metrics["status"]) == ("theirs", "finished")
    assert metrics["judges"]["age"] == {"name": "random", "in_the_loss": None, "in_the_search": None}
    assert "theirs" in (theirs / "table.md").read_text()

    beside = evaluate(run_stage, f"[{theirs},{run}]", directory="both")
    assert {line["label"] for line in csv.DictReader((beside / "table.csv").open())} >= {"theirs"}


def test_a_folder_of_which_nothing_is_left(run_stage: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "p" / "a.png")
    with pytest.raises(SystemExit):
        run_stage("source=folder", f"folder.path={tmp_path / 'p'}", stage="evaluate")
    assert "none of the 1 pictures in" in capfd.readouterr().err


def test_names_of_pictures() -> None:
    files = [Path(name) for name in ("a_b_age5.png", "a_b_age5_0.png", "a_age7.5_2.webp", "a_age7.5_2.png", "age9.png")]
    pictures, skipped = parse(files, PATTERN)
    assert {(p.file.name, p.photo, p.target_age, p.output) for p in pictures} == {
        ("a_b_age5_0.png", "a_b", 5, 0),
        ("a_b_age5.png", "a_b", 5, 1),
        ("a_age7.5_2.webp", "a", 7.5, 2),
    }
    assert skipped["a_age7.5_2.png"] == "a_age7.5_2.webp is the same photo, age and output"
    assert "age9.png" in skipped
    assert Folder("x/theirs", None, PATTERN, None).method == "theirs"


def job(name: str, overrides: tuple[str, ...] = (), method: str = "diversify", **means: float) -> Job:
    """A job with these means, their intervals one unit of the last digit wide."""
    estimates = {key: Estimate(mean, 1.0, mean - 0.5, mean + 0.5, 3, 6) for key, mean in means.items()}
    judges = dict.fromkeys(("age", "identity", "gender", "diversity"), "random, in the loss")
    where = Path("/runs") / name
    return Job(where, name, method, overrides, "", {"method": {}}, "finished", "", [], estimates, {}, judges)


def test_labels_tell_jobs_apart() -> None:
    common = ("experiment=x", "paths.output_dir=/a", "data.seeds=[1]")
    jobs = [
        job("0", (*common, "loss.aging=1", "method=guided"), "guided"),
        job("1", (*common, "loss.aging=5", "method=diversify")),
        job("2", (*common, "loss.aging=5", "method=diversify", "hardware=gpu")),
    ]
    assert [label(one, jobs) for one in jobs] == [
        "guided loss.aging=1",
        "diversify loss.aging=5 (1)",
        "diversify loss.aging=5 (2)",
    ]
    assert label(jobs[0], jobs[:1]) == "guided"
    elsewhere = replace(jobs[1], directory=Path("/other/1"))
    assert label(elsewhere, [jobs[1], elsewhere]) == "diversify (other/1)"
    theirs = replace(job("x", ("folder.path=/b", "source=folder"), "theirs"), config={"folder": {}})
    assert label(theirs, [*jobs, theirs]) == "theirs"
    assert label(jobs[0], [jobs[0], theirs]) == "guided"


def test_the_best_is_bold_ties_and_all() -> None:
    jobs = [
        job("0", method="a", age_error=1.234, id_similarity_source=0.5, sharpness=1),
        job("1", method="b", age_error=1.231, id_similarity_source=0.9, sharpness=2),
        job("2", method="c", age_error=2.5, id_similarity_source=0.8, sharpness=3),
        job("3", method="d"),
    ]
    table = paper_tables.by_quantity(jobs, ["age_error", "id_similarity_source", "sharpness", "diversity"])
    assert [column.key for column in table.columns] == ["age_error", "id_similarity_source", "sharpness"]
    assert [column.best() for column in table.columns] == [{0, 1}, {1}, set()]
    lines = paper_tables.markdown(table).splitlines()
    assert lines[2] == r"| a | **1.23** \[0.73, 1.73\] | 0.500 \[0.000, 1.000\] | 1.000 \[0.500, 1.500\] |"
    assert lines[5] == "| d | -- | -- | -- |"
    assert r"b & \textbf{1.23} {\scriptsize [0.73, 1.73]} & \textbf{0.900}" in paper_tables.latex(table)
    assert paper_tables.by_quantity(jobs[:1], ["age_error"]).columns[0].best() == set()


def test_latex_and_markdown_escape_what_they_must() -> None:
    name = r"50%_of $a & b#1 {x} ~^\ <z>|*`[1]"
    table = paper_tables.by_quantity(
        [job("0", method=name, age_error=1), job("1", method="y", age_error=2)], ["age_error"]
    )
    latex = paper_tables.latex(table)
    assert (
        r"50\%\_of \$a \& b\#1 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{} "
        r"\textless{}z\textgreater{}\textbar{}*`[1] & \textbf{1.00}" in latex
    )
    body = latex.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert all(line.count(" & ") == 1 for line in body.strip().splitlines())
    assert r"50%\_of $a & b#1 {x} ~^\\ \<z\>\|\*\`\[1\]" in paper_tables.markdown(table)


def test_tables_by_target_age_have_a_column_for_each() -> None:
    one = job("0", method="a", age_error=3)
    jobs = [
        replace(one, by_age={5.0: one.estimates, 70.0: {"age_error": Estimate(1, 1, math.nan, math.nan, 1, 1)}}),
        replace(job("1", method="b"), by_age={70.0: job("", age_error=2).estimates}),
    ]
    table = paper_tables.by_target_age(jobs, ["age_error"])
    assert [column.title for column in table.columns] == ["age error at 5, years", "age error at 70, years"]
    assert [column.text(1) for column in table.columns] == ["", "2.00"]
    lines = paper_tables.markdown(table).splitlines()
    assert lines[2] == r"| a | 3.00 \[2.50, 3.50\] | **1.00** |"  # no interval of one photo
    row = next(csv.DictReader(paper_tables.as_csv(table, jobs).splitlines()))
    assert (row["age_error_at_70"], row["age_error_at_70_low"]) == ("1", "")


@pytest.mark.thorough
def test_trade_offs_have_a_line_for_each_lambda() -> None:
    jobs = [
        job(str(i), (f"loss.aging={a}", f"loss.id={b}"), age_error=10 / a, id_similarity_source=0.5 + b / 10)
        for i, (a, b) in enumerate((a, b) for a in (25, 1, 5) for b in (0.1, 1))
    ]
    figure = figures.trade_off(jobs, "age_error", "id_similarity_source")
    assert figure is not None
    axes = figure.axes[0]
    lines = {line.get_label(): line.get_xdata() for line in axes.lines if not line.get_label().startswith("_")}
    assert {name: list(xs) for name, xs in lines.items()} == {
        "diversify loss.id=0.1": [10, 2, 0.4],
        "diversify loss.id=1": [10, 2, 0.4],
    }
    assert sorted(text.get_text() for text in axes.texts) == ["1", "1", "25", "25", "5", "5"]
    assert axes.get_xlabel() == "age error, years ↓\n(random)"
    unedited = replace(jobs[0], name="natural faces", estimates={"age_error": Estimate(4.0, 1.0, 3.0, 5.0, 3, 3)})
    beside = figures.trade_off(jobs, "age_error", "id_similarity_source", [unedited])
    assert beside is not None
    (floor,) = [line for line in beside.axes[0].lines if line.get_label() == "natural faces"]
    assert list(floor.get_xdata()) == [4.0, 4.0]
    two = [replace(jobs[0], method="guided"), jobs[1]]
    apart = figures.trade_off(two, "age_error", "id_similarity_source")
    assert apart is not None
    assert not apart.axes[0].texts  # they differ in more than a number: no line, and nothing to say at its points
    assert figures.trade_off(jobs[:1], "age_error", "id_similarity_source") is None
    assert figures.trade_off(jobs, "age_error", "diversity") is None
    assert figures.svg(figure) == figures.svg(figures.trade_off(jobs, "age_error", "id_similarity_source"))  # type: ignore[arg-type]
    ElementTree.fromstring(figures.svg(figure))
    assert figures.png(figure).startswith(b"\x89PNG")


def test_age_accuracy_joins_jobs_of_one_method() -> None:
    def at(name: str, method: str, age: float, mean: float) -> Job:
        known = {"age": Estimate(mean, 1.0, mean - 1, mean + 1, 3, 3)}
        return replace(job(name, (f"target_age={age:g}", f"method={method}"), method), by_age={age: known})

    jobs = [
        at("0", "guided", 70, 69),
        at("1", "guided", 5, 6),
        at("2", "transform", 5, 12),
        at("3", "transform", 70, 60),
    ]
    figure = figures.age_accuracy(jobs)
    assert figure is not None
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[0].lines}
    assert lines == {
        "as requested": ([5, 70], [5, 70]),
        "guided": ([5, 70], [6, 69]),
        "transform": ([5, 70], [12, 60]),
    }
    assert figures.age_accuracy(jobs[:1]) is None


def test_diversity_over_the_threshold_is_drawn_and_so_is_the_calibration() -> None:
    def curve(shift: float) -> dict:
        one = {name: Estimate(shift + 0.1, 0.1, shift, shift + 0.2, 3, 6) for name in ("lpips_credited", "passes")}
        return {1.0: one, 5.0: {name: replace(value, mean=shift + 0.3) for name, value in one.items()}}

    figure = judge_figures.pass_curve({"perturb": curve(0), "diversify": curve(0.2), "transform": {1.0: {}}})
    assert figure is not None
    left, right = figure.axes
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in left.lines] == [
        ([1, 5], pytest.approx([0.1, 0.3])),
        ([1, 5], pytest.approx([0.3, 0.5])),
    ]
    assert len(right.lines) == 2
    assert judge_figures.pass_curve({"transform": {1.0: {}}}) is None
    left, right = judge_figures.calibration().axes
    curves = [line for line in left.lines if line.get_marker() == "None"]
    assert all((np.diff(line.get_ydata()) > 0).all() for line in curves)
    assert len(curves) == 2


def test_jobs_judged_differently_are_called_so() -> None:
    jobs = [job("0", method="a", age_error=1), job("1", method="b", age_error=2)]
    jobs[1] = replace(jobs[1], judges=jobs[1].judges | {"age": "DEX, not in the loss"})
    (note,) = paper_tables.by_quantity(jobs, ["age_error"]).notes
    assert note == "age: random, in the loss (1 of 2); DEX, not in the loss (1 of 2); the rows are not judged alike"


def test_estimates_leave_out_what_no_row_tells() -> None:
    rows = [
        {"photo": "a", "target_age": 5.0, "output": 0, "status": "ok", "age": 6.0, "anchor_age": None, "failed": 0.0}
    ]
    made = jobs.estimates(rows, Bootstrap(100, 0.95, 0))
    assert set(made) == {"age", "age_error", "failures"}
    assert made["age_error"].mean == 1
    assert jobs.estimates([], Bootstrap(100, 0.95, 0)) == {}


def test_groups_are_in_the_order_of_outputs() -> None:
    rows = [
        {"photo": p, "target_age": 5.0, "output": k, "status": s}
        for p, k, s in [("b", 1, "ok"), ("a", 0, "ok"), ("b", 0, "ok"), ("a", 1, "failed")]
    ]
    assert [[(r["photo"], r["output"]) for r in group] for group in measuring.groups(rows)] == [
        [("a", 0)],
        [("b", 0), ("b", 1)],
    ]
