"""The recipes of CONTRIBUTING.md, carried out: files and changes are cut out of the page, and then it has to work."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import rows_of
from tests.mutants import copy_to

pytestmark = pytest.mark.thorough
PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
RECIPES = dict(re.findall(r"^## An? (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
FACES = ("model=tiny", "hardware=cpu", "data=faces", "data.seeds=[1,2]", "logger=none")


def carry_out(recipe: str, folder: Path) -> None:
    """Write the recipe's files, apply its changes and run its commands, in a checkout."""
    for name, content in re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```", recipe, re.M | re.S):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    for changes in re.findall(r"^```diff\n(.*?)^```", recipe, re.M | re.S):
        for name, hunks in re.findall(r"^--- (.+?)\n(.*?)(?=^--- |\Z)", changes, re.M | re.S):
            for hunk in hunks.split("@@\n")[1:]:
                change(folder / name, hunk.splitlines(keepends=True))
    for commands in re.findall(r"^```sh\n(.*?)^```", recipe, re.M | re.S):
        subprocess.run(commands, cwd=folder, shell=True, check=True)


def change(path: Path, hunk: list[str]) -> None:
    """Put the lines of a hunk that it keeps or adds in place of those that it keeps or takes away."""
    old, new = ("".join(line[1:] for line in hunk if line[0] in signs) for signs in (" -", " +"))
    text = path.read_text()
    assert text.count(old) == 1, f"CONTRIBUTING.md changes lines that {path.name} does not have once:\n{old}"
    path.write_text(text.replace(old, new))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what lies outside the repository, importable."""
    folder = tmp_path / "elsewhere"
    monkeypatch.syspath_prepend(folder)
    return folder


def test_the_page_has_the_recipes() -> None:
    assert list(RECIPES) == ["method", "model stack", "loss term", "table column", "stage"]


def test_a_method_from_outside_is_seen_everywhere(
    run_stage: Callable[..., Path], elsewhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carry_out(RECIPES["method"], tmp_path)
    conf = f"--config-dir={elsewhere / 'conf'}"
    with pytest.raises(SystemExit) as exit:
        run_stage("--help", conf)
    assert not exit.value.code
    methods = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("method: "))
    assert "averaging" in methods
    assert "diversify" in methods

    sweep = run_stage("-m", conf, *FACES, "method=averaging", "method.share=0.1,0.5")
    rows = [rows_of(sweep / job) for job in "01"]
    assert [(row["method"], row["status"]) for job in rows for row in job] == [("averaging", "ok")] * 4
    from adfd.models import load_tiny

    mean = load_tiny().s_mean.numpy()
    codes = [np.load(sweep / job / "latents/seed1_age70_0.npz")["s"] for job in "01"]
    assert np.abs((codes[0] - mean) / 0.9 - (codes[1] - mean) / 0.5).max() < 1e-4  # the anchor's, either way

    evaluation = run_stage(f"runs={sweep}", stage="evaluate", directory="evaluation")
    labels = [line["label"] for line in csv.DictReader((evaluation / "table.csv").open())]
    assert labels == ["averaging method.share=0.1", "averaging method.share=0.5"]
    assert "averaging method.share=0.5" in (evaluation / "table.md").read_text()
    page = (evaluation / "report.html").read_text()
    assert "method=averaging" in page
    assert "method.share=0.5" in page


def test_a_stack_from_outside_goes_through_the_stages(
    run_stage: Callable[..., Path], elsewhere: Path, tmp_path: Path
) -> None:
    files = RECIPES["model stack"].partition("```diff")[0]  # the copy below has the change
    carry_out(files, tmp_path)
    conf = f"--config-dir={elsewhere / 'conf'}"
    few = ("analysis.n_samples=50", "analysis.n_pairs=50", "analysis.n_permutations=5", "gallery.rows=0")
    run_stage(conf, "model=random", *few, "logger=none", stage="analyze", directory="analysis")
    run = run_stage(conf, *FACES, "model=random", "channels=fitted", "refine.max_steps=1", "n_outputs=2")
    assert [row["status"] for row in rows_of(run)] == ["ok"] * 4
    assert {row["loss"] is not None for row in rows_of(run)} == {True}


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with every recipe carried out."""
    checkout = copy_to(tmp_path_factory.mktemp("checkout"))
    for recipe in RECIPES.values():
        carry_out(recipe, checkout)
    return checkout


def python(checkout: Path, *arguments: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{checkout}:{checkout / 'elsewhere'}"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(changed: Path) -> Path:
    """A run of the changed checkout, with the new loss term."""
    directory = changed / "run"
    settings = ("loss=paper", "loss.tint=3", "refine.max_steps=2", "n_outputs=2", f"hydra.run.dir={directory}")
    python(changed, "-m", "adfd", *FACES, *settings)
    return directory


def test_a_loss_term_is_in_the_loss_and_in_the_rows(run: Path) -> None:
    for row in rows_of(run):
        assert row["loss_tint"] > 0
        others = 5 * row["loss_aging"] + 0.1 * row["loss_id"] + 0.01 * (row["loss_l2"] + row["loss_perceptual"])
        assert row["loss"] == pytest.approx(others + 3 * row["loss_tint"])


def test_a_table_column_is_in_the_tables(changed: Path, run: Path) -> None:
    settings = (
        "table.columns=[age_error,steps]",
        "cyclic=false",
        "hardware=cpu",
        f"hydra.run.dir={changed / 'evaluation'}",
    )
    python(changed, "-m", "adfd.evaluate", f"runs={run}", *settings)
    (line,) = csv.DictReader((changed / "evaluation/table.csv").open())
    assert float(line["steps"]) == np.mean([row["steps"] for row in rows_of(run)])
    assert "steps" in (changed / "evaluation/table.md").read_text().splitlines()[0]


def test_a_stage_lists_what_a_run_left(changed: Path, run: Path) -> None:
    printed = python(changed, "-m", "adfd.youngest", f"run={run}", f"hydra.run.dir={changed / 'youngest'}")
    found = [float(line.split()[5]) for line in printed.splitlines() if line.startswith("│ seed")]
    assert found == sorted(round(row["age"], 2) for row in rows_of(run))
    floors = ("--noconftest", "tests/test_architecture.py", "-k", "every_module or youngest")
    python(changed, "-m", "pytest", "-q", "-p", "no:cacheprovider", *floors)


def test_the_changed_judges_have_their_names(changed: Path) -> None:
    code = "from adfd.models.judges import judge_names; print(judge_names({'_target_': 'stack.load_random'})['age'])"
    assert python(changed, "-c", code) == "random\n"
