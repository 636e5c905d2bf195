from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from adfd.basics.errors import AdfdError
from adfd.faces import photos
from adfd.faces.photo_names import unique_names
from adfd.faces.photos import as_img, find_photos, read_photo, reads_avif, search


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(data.astronaut()).crop((100, 0, 340, 200))


def test_find_photos_takes_every_suffix_sorted(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "C.jpeg", "d.webp", "e.HEIC", "f.heif", "notes.txt", "._b.JPG"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert [photo.name for photo in find_photos(tmp_path)] == ["a.png", "b.JPG", "C.jpeg", "d.webp", "e.HEIC", "f.heif"]
    assert find_photos(tmp_path / "a.png") == [tmp_path / "a.png"]


def test_find_photos_names_the_path_without_photos(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for path in (tmp_path, tmp_path / "notes.txt", tmp_path / "absent"):
        with pytest.raises(AdfdError, match=path.name):
            find_photos(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "heic"])
def test_formats(tmp_path: Path, picture: Image.Image, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    picture.save(path, quality=95)
    photo = read_photo(path)
    assert (photo.mode, photo.size) == ("RGB", picture.size)
    assert np.abs(np.asarray(photo, float) - np.asarray(picture, float)).mean() < 5


def test_exif_rotation_is_honoured(tmp_path: Path, picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert read_photo(tmp_path / "turned.png").tobytes() == picture.tobytes()


def test_transparency_becomes_grey(tmp_path: Path, picture: Image.Image) -> None:
    picture.putalpha(0)
    picture.save(tmp_path / "clear.png")
    assert read_photo(tmp_path / "clear.png").getextrema() == ((128, 128),) * 3
    picture.quantize(16).save(tmp_path / "palette.png", transparency=0)
    assert read_photo(tmp_path / "palette.png").mode == "RGB"


def test_16_bits_are_scaled(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(np.asarray(read_photo(tmp_path / "grey.png"))[..., 0], grey >> 8)


def test_cmyk(tmp_path: Path, picture: Image.Image) -> None:
    picture.convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    photo = read_photo(tmp_path / "print.jpg")
    assert photo.mode == "RGB"
    assert np.abs(np.asarray(photo, float) - np.asarray(picture, float)).mean() < 6


def test_unreadable_files_give_one_line(tmp_path: Path, picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("jpg", "png", "webp", "heic"):
        picture.save(tmp_path / f"whole.{suffix}")
        content = (tmp_path / f"whole.{suffix}").read_bytes()
        (tmp_path / f"truncated.{suffix}").write_bytes(content[: len(content) // 2])
        (tmp_path / f"beginning.{suffix}").write_bytes(content[:20])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    broken = [photo for photo in find_photos(tmp_path) if photo.stem != "whole"]
    assert len(broken) == 10
    for photo in [*broken, tmp_path / "absent.jpg"]:
        with pytest.raises(AdfdError, match=photo.name) as error:
            read_photo(photo)
        assert "\n" not in str(error.value)

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(AdfdError, match="megapixels"):
        read_photo(tmp_path / "whole.png")


def test_as_img_spans_minus_one_to_one() -> None:
    img = as_img(Image.fromarray(np.array([[[0, 255, 0], [0, 0, 255]]], np.uint8)))
    assert img.tolist() == [[[[-1, -1]], [[1, -1]], [[-1, 1]]]]


def test_subfolders_patterns_and_what_is_left_out(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/b.jpg", "a/c/d.PNG", "a/.hidden/e.jpg", ".f.jpg", "a/notes.txt", "Z.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    flat = search(tmp_path)
    assert [photo.name for photo in flat.photos] == ["b.jpg", "Z.gif"]
    assert flat.left_out["hidden"] == 1
    assert "which data.recursive=true takes in" in flat.told()
    assert "\n" not in flat.told()
    deep = search(tmp_path, recursive=True)
    assert [photo.relative_to(tmp_path).as_posix() for photo in deep.photos] == [
        *("a/b.jpg", "a/c/d.PNG", "b.jpg", "Z.gif")
    ]
    assert deep.left_out == {"hidden": 1, "with names of no photo": 2}
    assert [photo.name for photo in find_photos(tmp_path, True, "B*.JPG")] == ["b.jpg", "b.jpg"]
    assert find_photos(tmp_path, True, "a/*/*.png") == [tmp_path / "a/c/d.PNG"]
    with pytest.raises(AdfdError, match=r"holds no photo \(left out: .*data.pattern=x\*.*\); photos end in"):
        find_photos(tmp_path, True, "x*")
    assert unique_names(deep.photos, deep.root) == ["a__b", "a__c__d", "b", "Z"]


@pytest.mark.parametrize("suffix", ["bmp", "tiff", "tif", "gif", "avif"])
def test_more_formats(tmp_path: Path, picture: Image.Image, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    if suffix == "avif" and not reads_avif():
        pytest.skip("this Pillow does not write AVIF")
    more = {"save_all": True, "append_images": [Image.new("RGB", picture.size)]} if suffix in ("gif", "tiff") else {}
    picture.save(path, **more)
    photo = read_photo(path)
    assert (photo.mode, photo.size) == ("RGB", picture.size)
    assert np.abs(np.asarray(photo, float) - np.asarray(picture, float)).mean() < 8  # the first frame
    assert find_photos(path) == [path]


@pytest.mark.parametrize("lacks", ["format", "codec"])
def test_avif_that_pillow_does_not_read_is_said(
    tmp_path: Path, picture: Image.Image, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x1cftypavif")
    if lacks == "format":
        Image.init()
        monkeypatch.setattr(Image, "OPEN", {name: made for name, made in Image.OPEN.items() if name != "AVIF"})
    else:
        monkeypatch.setattr(photos.features, "check", lambda name: False)
    with pytest.raises(AdfdError, match=r"a\.avif is AVIF, which the installed Pillow \S+ does not read; update it"):
        read_photo(tmp_path / "a.avif")


def test_what_runs_programs_is_no_photo(tmp_path: Path, picture: Image.Image) -> None:
    for kind in ("EPS", "PPM", "ICO", "PDF"):
        picture.save(tmp_path / "photo.jpg", kind)
        with pytest.raises(AdfdError, match=r"photo\.jpg is not a picture, or damaged"):
            read_photo(tmp_path / "photo.jpg")
