"""The editor for notebooks makes what the command line makes, bit by bit."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from adfd import Editor
from adfd.basics.errors import AdfdError
from adfd.editor import quoted
from tests.conftest import QUICK, rows_of

pytestmark = pytest.mark.thorough

SETTINGS = (*QUICK, "hardware=cpu", "refine.max_steps=3")


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    return Editor.load("tiny", *SETTINGS, folder=tmp_path / "edits")


def test_diversify_is_bit_equal_to_the_command_line(run_stage: Callable[..., Path], editor: Editor) -> None:
    run = run_stage(*SETTINGS, "data=faces", "data.seeds=[3]", "target_age=70", "method.n_outputs=2", "seed=5")
    results = editor.diversify(editor.person(seed=3), age=70, n=2, seed=5)
    assert len(results) == 2
    for result, row in zip(results, rows_of(run), strict=True):
        code = Path(row["image"]).stem
        assert np.array_equal(result.s.numpy(), np.load(run / f"latents/{code}.npz")["s"])
        assert (run / row["image"]).read_bytes() == (result.run.path / result.row["image"]).read_bytes()
        assert (result.age, result.identity) == (row["age"], row["id_similarity_source"])


@pytest.mark.thorough
def test_a_photos_edit_is_bit_equal_to_the_command_line(run_stage: Callable[..., Path], tmp_path: Path) -> None:
    photo = tmp_path / "it's, a {photo}=1.png"
    Image.fromarray(data.astronaut()).save(photo)
    short = (*SETTINGS, "prepare.steps=2")
    run = run_stage(*short, "data=folder", "data.path=" + quoted(str(photo)), "target_age=30", "method=guided")
    editor = Editor.load("tiny", *short, f"paths.output_dir={tmp_path / 'own'}", folder=tmp_path / "edits")
    (row,), (result,) = rows_of(run), editor.guided(editor.person(photo), age=30)
    assert np.array_equal(result.s.numpy(), np.load(run / f"latents/{Path(row['image']).stem}.npz")["s"])
    assert (run / row["image"]).read_bytes() == (result.run.path / result.row["image"]).read_bytes()
    assert (result.age, result.identity) == (row["age"], row["id_similarity_source"])


def test_guided_results_are_shown_and_saved(editor: Editor, tmp_path: Path) -> None:
    person = editor.person(seed=3)
    results = editor.guided(person, age=30)
    assert results[0].save(tmp_path / "edit.png").stat().st_size > 0
    assert results[0].image.size == (32, 32)
    page = results._repr_html_()
    assert page.count("<img") == len(results) == 1
    assert f"reads {results[0].age:.0f}" in page
    assert "data:image/jpeg" in person._repr_html_()


def test_a_saved_picture_has_its_row_and_configuration_beside_it(editor: Editor, tmp_path: Path) -> None:
    result = editor.guided(editor.person(seed=3), age=30)[0]
    result.save(tmp_path / "edit.png")
    told = json.loads((tmp_path / "edit.json").read_text())
    assert told["row"] == result.row
    assert (told["method"], told["config"]["target_age"], told["config"]["data"]["seeds"]) == ("guided", 30, [3])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "edit.png")), np.asarray(result.image))


def test_saved_runs_are_evaluated_like_those_of_the_command_line(
    run_stage: Callable[..., Path], editor: Editor, tmp_path: Path
) -> None:
    person = editor.person(seed=3)
    kept = editor.diversify(person, age=70, n=2, seed=5).save(tmp_path / "kept")
    with pytest.raises(AdfdError, match="another configuration"):
        editor.diversify(person, age=70, n=2, seed=6).save(kept)
    evaluation = run_stage(f"runs={kept}", "cyclic=false", stage="evaluate", directory="evaluation")
    (line,) = csv.DictReader((evaluation / "table.csv").open())
    assert line["label"] == "diversify"
    errors = [abs(row["age"] - 70) for row in rows_of(kept)]
    assert float(line["age_error"]) == pytest.approx(np.mean(errors))
    with pytest.raises(AdfdError, match="no results to save"):
        editor.guided(person, age=30)[1:].save(tmp_path / "none")


def test_the_same_call_again_finds_its_run(editor: Editor) -> None:
    person = editor.person(seed=3)
    first = editor.guided(person, age=30)[0].run.path / "results.jsonl"
    made = first.stat().st_mtime_ns
    editor.guided(person, age=30)
    assert first.stat().st_mtime_ns == made
    assert len(first.read_text().splitlines()) == 1


def test_mistakes_are_told_in_one_line(editor: Editor, tmp_path: Path) -> None:
    with pytest.raises(AdfdError, match="does not exist"):
        editor.person(tmp_path / "it's, a {photo}.jpg")
    with pytest.raises(AdfdError, match="target_age must lie in"):
        editor.guided(editor.person(seed=1), age=300)
    with pytest.raises(AdfdError, match="a photo or a seed"):
        editor.person("a.jpg", seed=1)
