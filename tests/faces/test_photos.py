from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from adfd.basics.errors import AdfdError
from adfd.faces.photos import as_img, find_photos, read_photo


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
    photos = [photo for photo in find_photos(tmp_path) if photo.stem != "whole"]
    assert len(photos) == 10
    for photo in [*photos, tmp_path / "absent.jpg"]:
        with pytest.raises(AdfdError, match=photo.name) as error:
            read_photo(photo)
        assert "\n" not in str(error.value)

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(AdfdError, match="megapixels"):
        read_photo(tmp_path / "whole.png")


def test_as_img_spans_minus_one_to_one() -> None:
    img = as_img(Image.fromarray(np.array([[[0, 255, 0], [0, 0, 255]]], np.uint8)))
    assert img.tolist() == [[[[-1, -1]], [[1, -1]], [[-1, 1]]]]
