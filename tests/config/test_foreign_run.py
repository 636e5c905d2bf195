"""Run directories that a stranger may have made: nothing in them is built, resolved or opened beyond our own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from adfd.basics.errors import AdfdError
from adfd.config import schema
from adfd.config.foreign_run import record
from adfd.evaluation.jobs import latest_rows, read_summary

schema.register()
Spoil = Callable[[dict[str, Any]], object]


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def spoil(run: Path, form: str, change: Spoil) -> None:
    """Change the configuration that the evaluation reads, in the run's own form or in Hydra's."""
    file = run / "config.json" if form == "own" else run / ".hydra/config.yaml"
    content = json.loads(file.read_text()) if form == "own" else yaml.safe_load(file.read_text())
    change(content["config"] if form == "own" else content)
    file.write_text(json.dumps(content) if form == "own" else yaml.safe_dump(content))
    if form != "own":
        (run / "config.json").unlink()


def test_both_forms_tell_the_same(run: Path, tmp_path: Path) -> None:
    own = record(run, tmp_path)
    (run / "config.json").unlink()
    assert record(run, tmp_path) == own
    assert own.model["channels"] == f"{tmp_path}/adfd/data/tiny-0.npz"
    assert "${" not in json.dumps(own.config)


@pytest.mark.parametrize("form", ["own", "hydra"])
@pytest.mark.parametrize(
    "target", ["os.system", "subprocess.Popen", "adfd.config.build_shared.get_method", "adfd.models.load_", "", 5, None]
)
def test_only_our_model_stacks_are_built(run: Path, form: str, target: object) -> None:
    spoil(run, form, lambda config: config["model"].update(_target_=target))
    with pytest.raises(
        AdfdError, match=r"config\.(json|yaml): model\._target_ must be one of .*, got .*trust="
    ) as error:
        record(run, Path())
    assert "\n" not in str(error.value)


def test_a_trusted_package_s_stack_is_read(run: Path) -> None:
    spoil(run, "own", lambda config: config["model"].update(_target_="mine.stack.load"))
    assert record(run, Path(), ["mine"]).model["_target_"] == "mine.stack.load"
    with pytest.raises(AdfdError, match="must be one of"):
        record(run, Path(), ["min"])


def test_evaluating_a_hostile_run_runs_nothing_of_it(
    run: Path, run_stage: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = f"touch {tmp_path}/executed"
    spoil(run, "hydra", lambda config: config["model"].update(_target_="os.system", command=command))
    with pytest.raises(SystemExit) as exit:
        run_stage(f"runs={run}", stage="evaluate", directory="evaluation")
    assert exit.value.code == 1
    assert not (tmp_path / "executed").exists()
    error = capfd.readouterr().err
    assert "model._target_ must be one of" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:HOME}",
        "${oc.decode:'[1]'}",
        "${oc.create:{}}",
        "${oc.dict.values:paths}",
        "${oc.${x}:HOME}",
        "$${seed}{oc.env:HOME}",
        "${compat:${oc.env:HOME},1}",
        "${now:%Y}",
        "${job_folder:/tmp,0}",
        "${hydra:runtime.cwd}",
    ],
)
def test_nothing_outside_the_file_is_resolved(run: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(run, "hydra", lambda config: config["data"].update(path=value))
    with pytest.raises(AdfdError, match=r"config\.yaml: data\.path may not look outside the file, got "):
        record(run, Path())


def test_a_value_that_is_missing_is_one_line_with_the_file(run: Path) -> None:
    spoil(run, "hydra", lambda config: config["data"].update(path="???"))
    with pytest.raises(AdfdError, match=r"config\.yaml: data\.path has no value; leave this run out"):
        record(run, Path())


def test_a_record_of_its_own_is_never_resolved(run: Path) -> None:
    spoil(run, "own", lambda config: config["data"].update(path="${oc.env:HOME}"))
    assert record(run, Path()).config["data"]["path"] == "${oc.env:HOME}"


@pytest.mark.parametrize("extra", [{"command": "x"}, {"channels": ["a"]}, {"channels": {"_target_": "os.system"}}])
def test_settings_that_a_stack_does_not_have_are_refused(run: Path, extra: dict[str, Any]) -> None:
    spoil(run, "own", lambda config: config["model"].update(extra))
    with pytest.raises(AdfdError, match=r"model\.\w+ is nothing that adfd\.models\.load_tiny takes"):
        record(run, Path())


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "5", '{"config": 5}', "[" * 100_000, "\x00", '{"config": {"model": 5}}', "null"]
)
def test_a_damaged_record_is_one_line(run: Path, text: str) -> None:
    (run / "config.json").write_text(text)
    with pytest.raises(AdfdError, match=r"config\.json is not readable"):
        record(run, Path())


def test_what_would_fill_the_memory_is_refused_unread(run: Path) -> None:
    (run / "config.json").unlink()
    bomb = "a: &a [x]\n" + "".join(f"{b}: &{b} [*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    (run / ".hydra/config.yaml").write_text(bomb)
    with pytest.raises(AdfdError, match="holds aliases"):
        record(run, Path())
    (run / "config.json").write_text(" " * (2**22 + 1))
    with pytest.raises(AdfdError, match="more than any configuration"):
        record(run, Path())
    (run / "config.json").unlink()
    (run / "config.json").symlink_to("/etc/passwd")
    with pytest.raises(AdfdError, match="is a link"):
        record(run, Path())


@pytest.mark.parametrize(
    "change",
    [
        {"image": "../secret.png"},
        {"image": "/etc/passwd"},
        {"image": "images/../../secret.png"},
        {"photo": "../secret"},
        {"photo": "a/b"},
        {"photo": "a\0b"},
        {"photo": 5},
        {"target_age": "20"},
        {"target_age": float("inf")},
        {"output": "0"},
        {"status": None},
        {"reason": 1},
        {"age": "old"},
        {"id_similarity_source": []},
        {"image": None},
        {"image": 3},
    ],
)
def test_rows_that_no_run_writes_are_refused(run: Path, change: dict[str, Any]) -> None:
    (row,) = latest_rows(run)
    (run / "results.jsonl").write_text(json.dumps(row | change) + "\n")
    with pytest.raises(AdfdError, match=r"results\.jsonl: a row") as error:
        latest_rows(run)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["images/seed1_source.png", "images/seed1_age70_0.png", "results.jsonl"])
def test_links_out_of_a_run_are_refused(run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes((run / name).read_bytes())
    (run / name).unlink()
    (run / name).symlink_to(tmp_path / "secret")
    with pytest.raises(AdfdError, match=r"out of the run|outside the run"):
        latest_rows(run)


@pytest.mark.parametrize("text", ["", "[]", "5", "{}", '{"status": "finished", "skipped_photos": []}', "[" * 100_000])
def test_a_summary_of_another_form_is_none(run: Path, text: str) -> None:
    (run / "summary.json").write_text(text)
    assert read_summary(run)["status"] == "lost"
