"""Photos, checkpoints, channel files and run directories that are wrong."""

from __future__ import annotations

import csv
import io
import json
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from skimage import data

from adfd.config.foreign_run import check_files, record
from adfd.evaluation.jobs import latest_rows
from adfd.models import checkpoints
from adfd.stylespace.statistics import Channels
from tests.conftest import run_in

pytestmark = pytest.mark.thorough

Adfd = Callable[..., tuple[int, str]]
PORTRAIT = Image.fromarray(data.astronaut())
SMALL = PORTRAIT.resize((64, 64))
SHIPPED = Path("adfd/data/tiny-0.npz")


def picture(kind: str, image: Image.Image = SMALL, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG of any size by its header, without its pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


KINDS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF", "gif": "GIF", "heic": "HEIF"}
PHOTOS: dict[str, tuple[bytes, str]] = {
    **{f"empty.{suffix}": (b"", "is an empty file") for suffix in KINDS},
    **{f"start.{suffix}": (picture(kind)[:12], f"start.{suffix} is not") for suffix, kind in KINDS.items()},
    **{
        f"half.{suffix}": (picture(kind)[: len(picture(kind)) // 2], f"half.{suffix} is not")
        for suffix, kind in KINDS.items()
    },
    "text.jpg": (b"no picture", "is not a picture, or damaged"),
    "page.jpg": (b"<!doctype html><p>Quota exceeded", "is not a picture, or damaged"),
    "svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture, or damaged"),
    "program.jpg": (picture("EPS"), "is not a picture, or damaged"),
    "document.jpg": (picture("PDF"), "is not a picture, or damaged"),
    "zip.png": (b"PK\x03\x04" + bytes(30), "is not a picture, or damaged"),
    "bomb.png": (png(100_000, 100_000), "has more than 178 megapixels"),
    "claim.png": (png(5000, 5000), "claim.png is not readable"),
    "nothing.png": (png(0, 0), "nothing.png is not"),
    "pixel.png": (picture("PNG", Image.new("RGB", (1, 1))), "no face found"),
    "line.png": (picture("PNG", Image.new("RGB", (3000, 1))), "no face found"),
    "wall.png": (picture("PNG", Image.new("RGB", (80, 80), "grey")), "no face found"),
    "far.png": (picture("PNG", PORTRAIT.resize((200, 200))), "px wide, at least 48 are needed"),
    "avif.avif": (b"\0\0\0\x1cftypavif", "avif.avif is"),
}


@pytest.fixture(scope="module")
def reasons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Why each photo is left out, as the stage that prepares them says; one that can be used is among them."""
    root = tmp_path_factory.mktemp("photos")
    (root / "photos").mkdir()
    for name, (content, _) in PHOTOS.items():
        (root / "photos" / name).write_bytes(content)
    PORTRAIT.save(root / "photos" / "whole.png")
    settings = ("prepare.steps=1", "prepare.size=256", "data=folder", f"data.path={root}/photos")
    with (run_in(root, *settings, stage="prepare") / "photos.csv").open(newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_are_skipped_with_a_reason(reasons: dict[str, str], name: str) -> None:
    assert PHOTOS[name][1] in reasons[name]
    assert "\n" not in reasons[name]
    assert reasons["whole.png"] == ""


@pytest.mark.parametrize("names", [["text.jpg"], ["wall.png", "empty.png"]])
def test_where_every_photo_is_skipped_the_run_has_failed(adfd: Adfd, tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "photos").mkdir()
    for name in names:
        (tmp_path / "photos" / name).write_bytes(PHOTOS[name][0])
    code, told = adfd("data=folder", f"data.path={tmp_path}/photos", "method=transform", "logger=none")
    assert code == 1
    assert told.startswith(f"none of {len(names)} photos can be used (")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"


def packed(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def changed(**arrays: Any) -> bytes:
    with np.load(SHIPPED) as file:
        kept = {**file, **arrays}
    return packed(**{name: value for name, value in kept.items() if value is not None})


CHANNELS: dict[str, tuple[bytes, str]] = {
    "empty.npz": (b"", "is not readable"),
    "text.npz": (b"no arrays", "is not readable"),
    "cut.npz": (SHIPPED.read_bytes()[:999], "is not readable"),
    "other.npz": (packed(a=np.zeros(3)), "has schema None, this program reads"),
    "old.npz": (changed(schema_version=np.array(0)), "has schema 0, this program reads"),
    "stranger.npz": (changed(generator=np.array("other")), "was made for generator other, not tiny-0"),
    "nameless.npz": (changed(generator=None), "this program reads"),
    "more.npz": (changed(surprise=np.zeros(3)), "this program reads"),
    "objects.npz": (changed(generator=np.array([{}], dtype=object)), "is not readable"),
    "list.npz": (changed(generator=np.array(["a", "b"])), "generator is of another kind"),
    "short.npz": (changed(coef_age=np.zeros(3, np.float32)), "has columns of different lengths: "),
    "text_for_numbers.npz": (changed(coef_age=np.array(["a"] * 104)), "coef_age is of another kind"),
    "cut.pkl": (Path("tests/golden/reference_channels.pkl").read_bytes()[:99], "nothing in it was executed"),
    "program.pkl": (b"cos\nsystem\n(S'touch executed'\ntR.", "it asks for os.system"),
    "list.pkl": (pickle.dumps([1]), "nothing in it was executed"),
    "empty.pkl": (b"", "nothing in it was executed"),
    "paper.pkl": (Path("tests/golden/reference_channels.pkl").read_bytes(), "stylegan2-ffhq-1024, not tiny-0"),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_channel_files(call: Adfd, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CHANNELS[name][0])
    code, told = call(Channels.load, tmp_path / name, "tiny-0")
    assert (code, CHANNELS[name][1] in told) == (1, True), told
    assert not Path("executed").exists()


def saved(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


CHECKPOINTS: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "cannot be read: No such file or directory"),
    "empty": (b"", "is an empty file; download it again"),
    "page": (b"\n <!DOCTYPE html>", "is a web page, not weights"),
    "truncated": (saved({"a": torch.zeros(999)})[:-200], "is truncated: it ends after"),
    "truncated, old": (saved({"a": torch.zeros(999)}, _use_new_zipfile_serialization=False)[:-200], "truncated"),
    "text": (b"weights", "is not a file of PyTorch weights"),
    "zip": (packed(a=np.zeros(3)), "is not a file of PyTorch weights"),
    "program": (b"cos\nsystem\n(S'touch executed'\ntR.", "is not a file of PyTorch weights"),
    "program in a zip": (saved({"a": print}), "is not a file of PyTorch weights"),
    "an object": (pickle.dumps(Path()), "is not a file of PyTorch weights"),
    "numbers": (saved([1, 2]), "holds another network: expected a state dict, found list"),
    "other": (saved({"b": torch.zeros(3)}), "holds another network"),
}


def weight(path: Path) -> None:
    checkpoints.fill(torch.nn.Linear(2, 2), checkpoints.entry(checkpoints.read(path), None, path), path)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(call: Adfd, tmp_path: Path, name: str) -> None:
    content, line = CHECKPOINTS[name]
    if content is not None:
        (tmp_path / "file.pt").write_bytes(content)
    code, told = call(weight, tmp_path / "file.pt")
    assert (code, line in told) == (1, True), told
    assert not Path("executed").exists()


def test_a_folder_is_no_checkpoint(call: Adfd, tmp_path: Path) -> None:
    assert call(checkpoints.read, tmp_path) == (1, f"{tmp_path} cannot be read: Is a directory")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


Change = Callable[[dict[str, Any]], Any]
RECORDS: dict[str, tuple[Change, str]] = {
    "os.system": (lambda told: told["config"]["model"].update(_target_="os.system"), "model._target_ must be one of"),
    "an inner function": (
        lambda told: told["config"]["model"].update(_target_="adfd.models.tiny._randomise"),
        "model._target_ must be one of",
    ),
    "no target": (lambda told: told["config"]["model"].pop("_target_"), "model._target_ must be one of"),
    "a list of targets": (lambda told: told["config"]["model"].update(_target_=["a"]), "model._target_ must be one of"),
    "a key of its own": (lambda told: told["config"]["model"].update(command="x"), "model.command is nothing that"),
    "a node": (lambda told: told["config"]["model"].update(channels={"_target_": "os.system"}), "model.channels is"),
    "no model": (lambda told: told["config"].pop("model"), "is not readable (KeyError)"),
    "no config": (lambda told: told.pop("config"), "is not readable (KeyError)"),
    "no paths": (lambda told: told["config"].pop("paths"), "is not readable (KeyError)"),
    "no stage": (lambda told: told.pop("stage"), "is not readable (KeyError)"),
    "no overrides": (lambda told: told.update(overrides=5), "is not readable (TypeError)"),
    "a method of numbers": (lambda told: told["config"].update(method=[1]), "is not readable"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_records_of_runs(call: Adfd, run: Path, name: str) -> None:
    content = json.loads((run / "config.json").read_text())
    RECORDS[name][0](content)
    (run / "config.json").write_text(json.dumps(content))
    code, told = call(record, run, Path())
    assert (code, RECORDS[name][1] in told) == (1, True), told


TEXTS = ["", "[]", "{", "5", "null", "\x00", "[" * 100_000, '{"config": {"model": 5}}']


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_damaged_records(call: Adfd, run: Path, text: str) -> None:
    (run / "config.json").write_text(text)
    code, told = call(record, run, Path())
    assert (code, "config.json is not readable" in told) == (1, True), told


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "${oc.decode:'[1]'}", "${now:%Y}", "${nowhere}", "???"])
def test_interpolations_of_a_run(call: Adfd, run: Path, value: str) -> None:
    (run / "config.json").unlink()
    content = yaml.safe_load((run / ".hydra/config.yaml").read_text())
    content["data"]["path"] = value
    (run / ".hydra/config.yaml").write_text(yaml.safe_dump(content))
    code, told = call(record, run, Path())
    assert (code, "config.yaml: data.path" in told) == (1, True), told


ROWS: dict[str, Any] = {
    "image": "../secret.png",
    "image ": "/etc/passwd",
    "image  ": "images/../../secret.png",
    "image   ": 3,
    "image    ": None,
    "photo": "../secret",
    "photo ": "a\0b",
    "photo  ": 5,
    "target_age": "20",
    "target_age ": float("inf"),
    "output": "0",
    "status": None,
    "reason": 1,
    "age": "old",
    "id_similarity_source": [],
    "file": 5,
}


@pytest.mark.parametrize("key", ROWS)
def test_rows_of_runs(call: Adfd, run: Path, key: str) -> None:
    (row,) = latest_rows(run)
    (run / "results.jsonl").write_text(json.dumps(row | {key.strip(): ROWS[key]}) + "\n")
    code, told = call(latest_rows, run)
    assert (code, "results.jsonl: a row" in told) == (1, True), told


@pytest.mark.parametrize("name", ["images/seed1_source.png", "images/seed1_age70_0.png", "results.jsonl"])
def test_links_out_of_a_run(call: Adfd, run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes((run / name).read_bytes())
    (run / name).unlink()
    (run / name).symlink_to(tmp_path / "secret")
    code, told = call(latest_rows, run)
    assert (code, "leave this run out" in told) == (1, True), told


@pytest.mark.parametrize("key", ["channels", "sam", "generator", "arcface", "dex", "alexnet"])
@pytest.mark.parametrize("file", ["/etc/passwd", "{run}/../secret.pt", "../secret.pt", "~/secret.pt", "{run}/link.pt"])
def test_model_files_of_a_run(call: Adfd, run: Path, key: str, file: str) -> None:
    (run / "link.pt").symlink_to("/etc/passwd")
    code, told = call(check_files, {key: file.format(run=run)}, run, [run / "places"])
    assert (code, f"model.{key} names" in told) == (1, True), told
    assert "trust=[" in told
    check_files({key: f"{run}/model.pt", "dex": None}, run, [])
    check_files({key: "/etc/passwd"}, run, [Path("/etc")])


def test_evaluating_a_run_opens_no_file_elsewhere(adfd: Adfd, run: Path, tmp_path: Path) -> None:
    content = json.loads((run / "config.json").read_text())
    content["config"]["model"]["channels"] = str(tmp_path / "elsewhere.npz")
    (run / "config.json").write_text(json.dumps(content))
    code, told = adfd(f"runs={run}", "independent=false", f"paths.root={run}", stage="evaluate")
    assert (code, "model.channels names" in told) == (1, True), told


@pytest.mark.parametrize(
    "settings", ["source=folder folder.path={pictures}", "runs={run}", "source=folder folder.path={run}/images"]
)
def test_evaluating_into_another_run_changes_no_byte(adfd: Adfd, run: Path, tmp_path: Path, settings: str) -> None:
    (tmp_path / "pictures").mkdir()
    SMALL.save(tmp_path / "pictures" / "a_age20_0.png")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}
    words = settings.format(run=run, pictures=tmp_path / "pictures").split()
    code, told = adfd(*words, f"hydra.run.dir={run}", stage="evaluate")
    assert (code, told) == (1, f"{run} holds results of another configuration; choose another hydra.run.dir")
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()} == before
