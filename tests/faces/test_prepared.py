from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from adfd.basics.errors import AdfdError
from adfd.faces import photo_names, prepared
from adfd.faces.photos import read_photo
from adfd.faces.prepared import PreparedFace, PrepareSettings, load_sources, prepare, write_table
from adfd.models.draft import Draft
from adfd.models.networks import Networks
from adfd.models.tiny import load_tiny

pytestmark = pytest.mark.thorough

SETTINGS = PrepareSettings(
    faces="largest",
    align=True,
    require_face=False,  # most of these pictures show none
    size=256,
    steps=2,
    full_steps=1,
    lr=0.05,
    batch_size=2,
    pixel=1.0,
    perceptual=1.0,
    id=1.0,
    pull=0.01,
)


@pytest.fixture
def portrait() -> Image.Image:
    return Image.fromarray(data.astronaut())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def run(tiny: Networks, tmp_path: Path) -> Callable[..., list[PreparedFace]]:
    """`prepare` with the tiny networks and a cache of its own."""

    def run(*paths: Path, share: slice = slice(None), **changes: Any) -> list[PreparedFace]:
        settings = replace(SETTINGS, **changes)
        return prepare(paths, tiny, settings, tmp_path / "cache", share=share, progress=False)

    return run


@pytest.fixture
def inverted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch sizes of the inversions that take place."""
    sizes: list[int] = []
    original = prepared.invert

    def counting(networks: Networks, img: torch.Tensor, **settings: Any) -> Any:
        sizes.append(len(img))
        return original(networks, img, **settings)

    monkeypatch.setattr(prepared, "invert", counting)
    return sizes


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_a_photo_becomes_a_crop_and_latents(portrait: Image.Image, photos: Path, run: Any, tiny: Networks) -> None:
    (face,) = run(save(portrait, photos / "eileen.png"))
    assert (face.name, face.status, face.reason, face.cached) == ("eileen", "ready", "", False)
    assert read_photo(face.crop).size == (256, 256)
    with np.load(face.latents) as file:
        assert file["w_plus"].shape == (tiny.space.n_w_rows, tiny.generator.w_dim)
        assert file["w_plus"].dtype == np.float32
    assert face.id_similarity == pytest.approx(1 - face.id_distance**2 / 2, abs=1e-5)
    assert face.pixel_error > 0
    assert face.perceptual > 0
    assert sorted(file.name for file in face.crop.parent.iterdir()) == [".lock", "crop.png", "latents.npz"]


def test_exif_rotation_gives_the_same_face(portrait: Image.Image, photos: Path, run: Any, inverted: list[int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = portrait.transpose(Image.Transpose.ROTATE_90)
    faces = run(save(portrait, photos / "a.png"), save(turned, photos / "b.png", exif=exif))
    assert faces[0].latents == faces[1].latents
    assert [face.name for face in faces] == ["a", "b"]
    assert inverted == [1]  # one face, however many photos show it


def test_bad_photos_are_recorded_and_do_not_stop_the_rest(portrait: Image.Image, photos: Path, run: Any) -> None:
    whole = save(portrait, photos / "whole.jpg")
    (photos / "truncated.jpg").write_bytes(whole.read_bytes()[:9000])
    (photos / "empty.jpg").touch()
    (photos / "text.png").write_text("not a picture")
    save(Image.fromarray(data.coffee()), photos / "coffee.png")
    save(portrait.resize((200, 200)), photos / "far.png")
    names = ["truncated.jpg", "empty.jpg", "text.png", "coffee.png", "far.png", "absent.jpg", "whole.jpg"]
    faces = run(*(photos / name for name in names))
    assert [face.photo.name for face in faces] == names
    assert [face.status for face in faces] == ["skipped"] * 6 + ["ready"]
    reasons = ["truncated", "empty", "not a picture", "no face", "px wide, at least 48 are needed", "absent.jpg", ""]
    for face, reason in zip(faces, reasons, strict=True):
        assert reason in face.reason
    assert faces[0].crop is None
    assert faces[0].id_distance is None


def test_largest_and_all_faces(portrait: Image.Image, photos: Path, run: Any) -> None:
    group = Image.new("RGB", (900, 512))
    group.paste(portrait.resize((300, 300)), (0, 100))
    group.paste(portrait, (388, 0))
    path = save(group, photos / "group.png")
    (largest,) = run(path)
    faces = run(path, faces="all")
    assert [face.name for face in faces] == ["group", "group#2"]
    assert faces[0].latents == largest.latents != faces[1].latents
    assert [face.cached for face in faces] == [True, False]


def test_photos_of_one_stem_get_names_of_their_own(portrait: Image.Image, photos: Path, run: Any) -> None:
    faces = run(save(portrait, photos / "a.png"), save(portrait, photos / "A.jpg"))
    assert [face.name for face in faces] == ["a", "A#2"]


def test_aligned_crops_are_only_resized(portrait: Image.Image, photos: Path, run: Any) -> None:
    square, wide = save(portrait, photos / "square.png"), save(portrait.crop((0, 0, 512, 300)), photos / "wide.png")
    face, refused = run(square, wide, align=False)
    assert read_photo(face.crop).tobytes() == portrait.resize((256, 256), Image.Resampling.LANCZOS).tobytes()
    assert refused.status == "skipped"
    assert "512 x 300" in refused.reason


def test_second_call_computes_nothing(portrait: Image.Image, photos: Path, run: Any, inverted: list[int]) -> None:
    path = save(portrait, photos / "a.png")
    (first,) = run(path)
    times = [file.stat().st_mtime_ns for file in (first.crop, first.latents)]
    (second,) = run(path, batch_size=7)
    assert inverted == [1]
    assert [file.stat().st_mtime_ns for file in (second.crop, second.latents)] == times
    assert second == replace(first, cached=True)


@pytest.mark.parametrize("change", [{"steps": 3}, {"lr": 0.1}, {"id": 2.0}, {"size": 300}])
def test_other_settings_are_another_entry(
    portrait: Image.Image, photos: Path, run: Any, inverted: list[int], change: dict[str, float]
) -> None:
    path = save(portrait, photos / "a.png")
    (first,), (second,) = run(path), run(path, **change)
    assert inverted == [1, 1]
    assert first.latents != second.latents
    assert not second.cached


def test_another_draft_is_another_entry(
    portrait: Image.Image, photos: Path, tmp_path: Path, inverted: list[int]
) -> None:
    path = save(portrait, photos / "a.png")
    networks, found = load_tiny(), []

    def run(**changes: Any) -> None:
        (face,) = prepare([path], networks, replace(SETTINGS, **changes), tmp_path / "cache", progress=False)
        found.append(face.latents)

    run()
    run(full_steps=2)  # without a draft all steps are full
    networks.draft = Draft(networks.name, networks.space, 32, widths=[8], rank=4).requires_grad_(False)
    run()
    run(full_steps=2)
    networks.draft.to_img.weight.mul_(2)
    run()
    assert found[0] == found[1]
    assert len(set(found)) == 4
    assert inverted == [1, 1, 1, 1]


def test_damaged_entries_are_mended(portrait: Image.Image, photos: Path, run: Any, inverted: list[int]) -> None:
    path = save(portrait, photos / "a.png")
    (first,) = run(path)
    crop, latents = first.crop.read_bytes(), first.latents.read_bytes()
    first.crop.write_bytes(crop[:1000])
    assert run(path) == [replace(first, cached=True)]
    assert first.crop.read_bytes() == crop
    assert inverted == [1]
    for damaged in (latents[:300], b"", latents[:400] + b"?" * 40 + latents[440:]):
        first.latents.write_bytes(damaged)
        assert run(path) == [first]
    assert inverted == [1] * 4


def test_interruption_loses_only_its_batch(
    photos: Path, run: Any, inverted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    greys = [save(Image.new("RGB", (300, 300), (v, v, v)), photos / f"{v}.png") for v in (10, 20, 30)]
    counting = prepared.invert

    def interrupted(networks: Networks, img: torch.Tensor, **settings: Any) -> Any:
        if inverted:
            raise KeyboardInterrupt
        return counting(networks, img, **settings)

    monkeypatch.setattr(prepared, "invert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(*greys, align=False)
    monkeypatch.setattr(prepared, "invert", counting)
    assert [face.cached for face in run(*greys, align=False)] == [True, True, False]
    assert inverted == [2, 1]


def test_failed_inversion_is_recorded(
    portrait: Image.Image, photos: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = prepared.as_img
    monkeypatch.setattr(prepared, "as_img", lambda image: original(image) * torch.nan)
    (face,) = run(save(portrait, photos / "a.png"))
    assert face.status == "skipped"
    assert "inversion failed" in face.reason
    assert face.latents is None


def test_writing_leaves_nothing_half_done(tmp_path: Path) -> None:
    def fail(file: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"):
        prepared._write(path, fail)
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_text() == "old"


def test_impossible_cache_is_named(photos: Path, tiny: Networks) -> None:
    (photos / "file").touch()
    with pytest.raises(AdfdError, match=r"cache folder .*file"):
        prepare([], tiny, SETTINGS, photos / "file")


def test_sources(photos: Path, run: Any, tiny: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "READ_BATCH", 2)
    (photos / "empty.png").touch()
    greys = [save(Image.new("RGB", (300, 300), (v, 0, 0)), photos / f"{v}.png") for v in (0, 51, 255)]
    faces = run(photos / "empty.png", *greys, align=False)
    sources = load_sources(faces, tiny)
    assert sources.names == ("0", "51", "255")
    assert sources.img.shape == (3, 3, 256, 256)
    torch.testing.assert_close(sources.img[:, 0].mean(dim=(1, 2)), torch.tensor([-1, -0.6, 1]))
    assert sources.w_plus.shape == (3, tiny.space.n_w_rows, tiny.generator.w_dim)
    torch.testing.assert_close(sources.age, tiny.age(sources.img))
    torch.testing.assert_close(sources.embedding, tiny.embed(sources.img))

    faces[1].latents.write_bytes(b"")
    with pytest.raises(AdfdError, match="damaged"):
        load_sources(faces, tiny)
    with pytest.raises(AdfdError, match="empty"):
        load_sources(faces[:1], tiny)


def test_table_holds_every_record(photos: Path, run: Any, tmp_path: Path) -> None:
    (photos / "empty, with comma.png").touch()
    faces = run(photos / "empty, with comma.png", save(Image.new("RGB", (300, 300)), photos / "b.png"), align=False)
    write_table(faces, tmp_path / "faces.csv")
    with (tmp_path / "faces.csv").open(newline="") as file:
        skipped, ready = csv.DictReader(file)
    assert skipped["status"] == "skipped"
    assert "empty" in skipped["reason"]
    assert skipped["id_distance"] == ""
    assert float(ready["id_distance"]) == faces[1].id_distance


def test_progress_goes_to_stderr(photos: Path, tiny: Networks, tmp_path: Path, capsys: Any) -> None:
    path = save(Image.new("RGB", (300, 300)), photos / "a.png")
    settings = replace(SETTINGS, align=False)
    start = partial(prepare, [path], tiny, settings, tmp_path / "cache")
    start()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "align" in shown.err
    assert "id_distance" in shown.err
    assert "3/3" in shown.err
    start(progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("faces", "two"),
        ("align", "yes"),
        ("steps", 0),
        ("full_steps", 0),
        ("size", 64),
        ("batch_size", 0),
        ("lr", 0.0),
        ("pixel", -1.0),
        ("pull", np.nan),
    ],
)
def test_settings_name_the_wrong_key(key: str, value: Any) -> None:
    with pytest.raises(AdfdError, match=rf"prepare\.{key} must be .*, got {value}"):
        replace(SETTINGS, **{key: value})


@pytest.mark.thorough
@pytest.mark.parametrize("size", [256, 512, 1024])
def test_aligned_crops_are_recognised(portrait: Image.Image, photos: Path, run: Any, size: int) -> None:
    (made,) = run(save(portrait, photos / "photo.png"), align="auto", size=size)
    assert not made.aligned
    crop = read_photo(made.crop)
    (face,) = run(save(crop, photos / "crop.png"), align="auto", size=size, faces="all")
    assert face.aligned
    assert read_photo(face.crop).tobytes() == crop.tobytes()
    assert face.latents == made.latents
    (again,) = run(photos / "crop.png", align=True, size=size)
    assert not again.aligned
    odd = save(crop.resize((300, 300)), photos / "odd.png")
    shifted = save(crop.rotate(15), photos / "turned.png")
    assert [f.aligned for f in run(odd, shifted, align="auto")] == [False, False]


def test_table_says_what_was_taken_as_it_is(portrait: Image.Image, photos: Path, run: Any, tmp_path: Path) -> None:
    faces = run(save(portrait, photos / "a.png"), align="auto") + run(photos / "a.png", align=False)
    write_table(faces, tmp_path / "photos.csv")
    with (tmp_path / "photos.csv").open(newline="") as file:
        assert [row["aligned"] for row in csv.DictReader(file)] == ["False", "True"]


def test_names_are_unique_whatever_photos_are_called() -> None:
    photos = [Path(name) for name in ("a.png", "A.jpg", "a#2.png", "a.heic", "b.png", "sub/b.png")]
    names = photo_names.unique_names(photos)
    assert names == ["a", "A#3", "a#2", "a#4", "b", "b#2"]
    faces = [name for photo in names for name in islice(photo_names.face_names(photo, names), 3)]
    assert len({name.casefold() for name in faces}) == len(faces)
    assert list(islice(photo_names.face_names("a", names), 3)) == ["a", "a#5", "a#6"]


@pytest.mark.thorough
def test_shares_of_ranks_have_names_of_their_own(portrait: Image.Image, photos: Path, run: Any) -> None:
    paths = [save(portrait, photos / name) for name in ("a.jpg", "a.png", "b.png")]
    together = [face.name for face in run(*paths)]
    shares = [run(*paths, share=slice(rank, None, 2)) for rank in (0, 1)]
    assert [[face.name for face in share] for share in shares] == [["a", "b"], ["a#2"]]
    assert together == ["a", "a#2", "b"]


class Encoding(Networks):
    """Tiny networks whose encoder puts age and brightness into the latent."""

    has_encoder = True

    def encode(self, source: torch.Tensor, target_age: torch.Tensor) -> torch.Tensor:
        assert source.shape[1:] == (3, 256, 256)
        reading = target_age * 100 + source.mean(dim=(1, 2, 3))
        return reading[:, None, None].repeat(1, self.space.n_w_rows, self.generator.w_dim)


@pytest.fixture
def encoding(tiny: Networks) -> Networks:
    return Encoding(tiny.generator, tiny.age, tiny.embed, tiny.gender, tiny.perceptual)


def test_an_encoder_makes_inversion_unnecessary(
    portrait: Image.Image, photos: Path, tmp_path: Path, encoding: Networks, inverted: list[int]
) -> None:
    paths = [save(portrait, photos / "a.png"), save(Image.new("RGB", (300, 200)), photos / "b.png")]
    grey = save(Image.new("RGB", (256, 256), (9, 9, 9)), photos / "c.png")
    start = partial(prepare, cache=tmp_path / "cache", networks=encoding, progress=False)
    faces = [*start(paths, settings=SETTINGS), *start([grey], settings=replace(SETTINGS, align=False, size=300))]
    assert [face.status for face in faces] == ["ready", "skipped", "ready"]
    assert all(face.latents is None and face.id_distance is None for face in faces)
    assert [file.name for file in faces[0].crop.parent.iterdir()] == ["crop.png"]
    assert faces == [*start(paths, settings=replace(SETTINGS, steps=9)), faces[2]]  # settings of the inversion are idle
    sources = load_sources(faces, encoding)
    assert inverted == []
    assert sources.names == ("a", "c")
    torch.testing.assert_close(sources.age, encoding.age(sources.img))
    expected = sources.age * 100 + sources.img.mean(dim=(1, 2, 3))
    torch.testing.assert_close(sources.w_plus, expected[:, None, None].expand_as(sources.w_plus), rtol=1e-4, atol=1e-2)


def test_any_file_name_gives_a_name_that_files_rows_and_terminals_can_hold(tmp_path: Path) -> None:
    stems = [
        "x" * 251,
        "x" * 250 + "y",
        "日本語" * 27,
        "\udcff\udcfe",
        "\udcff",
        "a\u2028b",
        "a\x85b",
        "a\nb",
        "a b",
        "[red]",
        "{}",
    ]
    names = photo_names.unique_names([tmp_path / f"{stem}.jpg" for stem in stems])
    assert len(set(names)) == len(stems)
    assert names[2].startswith("日本語" * 16)
    assert names[-3:] == ["a b", "[red]", "{}"]
    for name in names:
        assert len(name.encode()) <= 160
        assert len(name.splitlines()) == 1
    assert names == photo_names.unique_names([tmp_path / f"{stem}.jpg" for stem in stems])


def test_a_batch_that_does_not_fit_is_inverted_in_halves(
    photos: Path, run: Any, tiny: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    paths = [
        save(Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)), photos / f"{i}.png")
        for i in range(3)
    ]
    sizes: list[int] = []
    original = prepared.invert

    def small(networks: Networks, img: torch.Tensor, **settings: Any) -> Any:
        sizes.append(len(img))
        if len(img) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(networks, img, **settings)

    monkeypatch.setattr(prepared, "invert", small)
    faces = run(*paths, align=False, batch_size=3)
    assert sizes == [3, 1, 2, 1, 1]
    assert [face.status for face in faces] == ["ready"] * 3
    assert all(Path(face.latents).exists() for face in faces if face.latents)


def test_without_alignment_a_wall_is_skipped_and_a_face_is_not(portrait: Image.Image, photos: Path, run: Any) -> None:
    wall = save(Image.new("RGB", (300, 300), "grey"), photos / "wall.png")
    crop = save(portrait.crop((80, 0, 400, 320)), photos / "face.png")
    skipped, ready = run(wall, crop, align=False, require_face=True)
    assert (skipped.status, ready.status) == ("skipped", "ready")
    assert skipped.reason == "no face found; prepare.require_face=false takes the picture as it is"
    assert run(wall, align=False)[0].status == "ready"


def test_names_hold_the_folders_and_records_the_photos_own_name(portrait: Image.Image, photos: Path, run: Any) -> None:
    (photos / "sub").mkdir()
    grey = Image.new("RGB", (300, 300))
    paths = [save(grey, photos / name) for name in ("a.png", "sub/a.png", "=b.png")]
    names = photo_names.unique_names(paths, photos)
    assert names == ["a", "sub__a", "=b"]
    assert photo_names.unique_names(paths) == ["a", "a#2", "=b"]
    assert [prepared.below(path, photos).as_posix() for path in paths] == ["a.png", "sub/a.png", "=b.png"]
    assert [prepared.below(path, None).as_posix() for path in paths] == ["a.png", "a.png", "=b.png"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_no_cell_of_the_table_is_a_formula(photos: Path, run: Any, tmp_path: Path, start: str) -> None:
    faces = run(save(Image.new("RGB", (300, 300)), photos / f"{start}HYPERLINK(x).png"), align=False)
    write_table(faces, tmp_path / "photos.csv")
    with (tmp_path / "photos.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["name"] == f"'{start}HYPERLINK(x)"
    assert row["file"] == f"'{start}HYPERLINK(x).png"
    assert float(row["pixel_error"]) == faces[0].pixel_error
