"""Pasting: what was not edited stays, what was edited meets the photo without an edge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from adfd.basics.errors import AdfdError
from adfd.faces.align import align, find_faces
from adfd.faces.paste import SIZE, across, composite, lay_seam, limits, own_crop, paste, placement, soft_mask, upright


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(data.astronaut())


@pytest.fixture(scope="module")
def landmarks(photo: Image.Image) -> np.ndarray:
    return find_faces(photo)[0].landmarks


@pytest.fixture(scope="module")
def crop(photo: Image.Image, landmarks: np.ndarray) -> Image.Image:
    return align(photo, landmarks, 512)


def tinted(image: Image.Image, red: float, blue: float, more: float) -> Image.Image:
    """A picture in another light."""
    pixels = np.asarray(image, float) * [red, 1, blue] + more
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def test_an_unchanged_crop_gives_the_photo_again(photo: Image.Image, landmarks: np.ndarray, crop: Image.Image) -> None:
    """The way out and back is one transform: less is lost than by a shift of half a px of the photo either way."""

    def lost(shift: float) -> float:
        step = shift * placement(photo.size, landmarks).scale * crop.width / SIZE
        moved = crop.transform(crop.size, Image.Transform.AFFINE, (1, 0, step, 0, 1, 0), Image.Resampling.BICUBIC)
        pasted = np.asarray(paste(photo, landmarks, moved).image, float)
        return float(np.abs(pasted - np.asarray(photo, float)).mean())

    assert lost(0) < 0.25
    assert lost(0) < 0.6 * min(lost(-0.5), lost(0.5))


def test_only_the_face_changes(photo: Image.Image, landmarks: np.ndarray, crop: Image.Image) -> None:
    edit = tinted(crop, 0.4, 0.4, 90).filter(ImageFilter.GaussianBlur(6))
    pasted = paste(photo, landmarks, edit).image
    assert pasted.size == photo.size
    changed = (np.asarray(pasted) != np.asarray(photo)).any(axis=2)
    x, y = landmarks.mean(axis=0)
    assert changed[int(y), int(x)]
    assert 0.01 < changed.mean() < 0.25
    assert not changed[:, :80].any()
    assert not changed[350:].any()


def test_another_light_is_taken_back_and_no_edge_is_seen(
    photo: Image.Image, landmarks: np.ndarray, crop: Image.Image
) -> None:
    edit = tinted(crop, 1.1, 0.85, 12)
    made = paste(photo, landmarks, edit)
    assert made.gradient < 1.15 * made.gradient_photo
    to_crop = placement(photo.size, landmarks)
    square = np.zeros((SIZE, SIZE))
    square[20:-20, 20:-20] = 1
    hard = composite(photo, to_crop, edit, square, np.ones((SIZE, SIZE, 3)))
    before, inside = own_crop(photo, to_crop, landmarks)
    assert across(own_crop(hard, to_crop, landmarks)[0], square, inside) > 1.3 * across(before, square, inside)
    x, y = landmarks.mean(axis=0).astype(int)
    there = np.asarray(made.image, float)[y - 20 : y + 20, x - 20 : x + 20].mean(axis=(0, 1))
    meant = np.asarray(photo, float)[y - 20 : y + 20, x - 20 : x + 20].mean(axis=(0, 1))
    assert np.abs(there - meant).max() < 12


def test_the_seam_goes_around_what_differs_and_never_through_the_features() -> None:
    difference = np.zeros((SIZE, SIZE, 3))
    difference[100:140, 215:235] = 120  # an ear-ring that the edit has not
    radius = lay_seam(difference, np.ones((SIZE, SIZE), bool))
    least, greatest = limits()
    assert (radius >= least - 2).all()
    assert (radius <= greatest + 2).all()
    mask = soft_mask(radius)
    assert mask[148, 128] == 1
    assert not mask[0].any()
    assert not mask[:, -1].any()
    border = (mask > 0.05) & (mask < 0.95)
    assert (border[100:140, 215:235]).mean() < 0.1


def test_a_face_at_the_edge_of_the_photo(photo: Image.Image, landmarks: np.ndarray) -> None:
    left, top = 190, 60
    part = photo.crop((left, top, 300, 200))
    shifted = landmarks - [left, top]
    edit = align(part, shifted, 256)
    made = paste(part, shifted, edit)
    assert made.image.size == part.size
    assert np.abs(np.asarray(made.image, float) - np.asarray(part, float)).mean() < 3


def test_a_photo_that_is_a_crop_already(crop: Image.Image) -> None:
    pasted = paste(crop, None, crop.resize((1024, 1024), Image.Resampling.LANCZOS)).image
    assert np.abs(np.asarray(pasted, float) - np.asarray(crop, float)).mean() < 0.5


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_photo_is_upright_and_keeps_its_colours(photo: Image.Image, tmp_path: Path, orientation: int) -> None:
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00"}
    photo.transpose(turns[orientation]).save(tmp_path / "turned.png", exif=exif, icc_profile=b"a profile")
    image, kept = upright(tmp_path / "turned.png")
    assert np.array_equal(np.asarray(image), np.asarray(photo))
    assert kept == {"icc_profile": b"a profile"}


def test_coinciding_landmarks_are_an_error(photo: Image.Image) -> None:
    with pytest.raises(AdfdError, match="coincide"):
        paste(photo, np.ones((5, 2)), photo)
