from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage import data
from skimage.transform import SimilarityTransform

from adfd.basics.errors import AdfdError
from adfd.faces.align import TEMPLATE, align, find_faces, rescale


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.fromarray(data.astronaut())


@pytest.fixture(scope="module")
def landmarks(portrait: Image.Image) -> np.ndarray:
    return find_faces(portrait)[0].landmarks


def stray(crop: Image.Image) -> float:
    """Largest distance of a crop's landmarks from the template, in px of a 256 px crop."""
    face = find_faces(crop)[0]
    return float(np.linalg.norm(rescale(face.landmarks, 256 / crop.width) - TEMPLATE, axis=1).max())


def test_no_face() -> None:
    assert find_faces(Image.new("RGB", (300, 200), "grey")) == []
    assert find_faces(Image.new("RGB", (5, 3000))) == []


def test_largest_face_comes_first(portrait: Image.Image) -> None:
    group = Image.new("RGB", (900, 512))
    group.paste(portrait.resize((300, 300)), (0, 100))
    group.paste(portrait, (388, 0))
    large, small = find_faces(group)
    assert large.width / small.width == pytest.approx(512 / 300, rel=0.2)
    assert large.landmarks[:, 0].min() > 388 > small.landmarks[:, 0].max()


@pytest.mark.parametrize("size", [256, 1024])
def test_crop_has_its_landmarks_at_the_template(portrait: Image.Image, landmarks: np.ndarray, size: int) -> None:
    crop = align(portrait, landmarks, size)
    assert (crop.mode, crop.size) == ("RGB", (size, size))
    assert stray(crop) < 3


def test_tilted_head_is_set_upright(portrait: Image.Image) -> None:
    tilted = portrait.rotate(20, Image.Resampling.BICUBIC)
    assert stray(align(tilted, find_faces(tilted)[0].landmarks, 256)) < 4


def test_shrinking_does_not_alias(portrait: Image.Image, landmarks: np.ndarray) -> None:
    """A pattern too fine for the crop turns grey instead of into stripes."""
    stripes = np.zeros((1500, 1500, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = np.asarray(align(Image.fromarray(stripes), landmarks * 2.5, 64))
    assert crop.std() < 5


def test_enlarged_photo_gives_the_same_crop(portrait: Image.Image, landmarks: np.ndarray) -> None:
    large = portrait.resize((2048, 2048), Image.Resampling.BICUBIC)
    crops = [align(portrait, landmarks, 128), align(large, rescale(landmarks, 4), 128)]
    difference = np.asarray(crops[0], float) - np.asarray(crops[1], float)
    assert np.abs(difference).mean() < 2


def test_photo_is_mirrored_beyond_its_edge(portrait: Image.Image, landmarks: np.ndarray) -> None:
    left, top, right, bottom = (170, 60, 300, 180)  # the face alone, without hair and neck
    inner = align(portrait.crop((left, top, right, bottom)), landmarks - (left, top), 256)
    whole = align(portrait, landmarks, 256)
    difference = np.abs(np.asarray(inner, float) - np.asarray(whole, float)).mean(axis=2)
    assert difference[100:200, 80:170].mean() < 1  # where the photo is, nothing changes
    assert np.asarray(inner)[0].mean() > 30  # and where it is not, there is no black


def test_align_inverts_a_known_transform() -> None:
    """A photo made by moving a smooth picture is moved back to where it was."""
    y, x = np.mgrid[:256, :256] / 256
    smooth = np.stack([np.sin(5 * x + y), np.cos(4 * y), np.sin(3 * x * y)], axis=2) * 100 + 128
    picture = Image.fromarray(smooth.round().astype(np.uint8))
    move = SimilarityTransform(scale=1.0, rotation=np.pi / 2, translation=(255, 0))  # a quarter turn, exact in pixels
    turned = picture.transpose(Image.Transpose.ROTATE_270)
    difference = np.asarray(align(turned, move(TEMPLATE), 256), float) - np.asarray(picture, float)
    assert np.abs(difference).max() < 3


def test_coinciding_landmarks_are_refused(portrait: Image.Image) -> None:
    with pytest.raises(AdfdError, match="coincide"):
        align(portrait, np.ones((5, 2)))
