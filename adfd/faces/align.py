"""Find faces in a photo by dlib's detector and landmarks, and crop them as FFHQ is cropped, as the networks expect."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageFilter
from skimage.transform import AffineTransform, ProjectiveTransform, SimilarityTransform, estimate_transform, warp

from adfd.basics.errors import AdfdError
from adfd.models import weights

TEMPLATE = np.array([(171.5, 121.9), (146.5, 122.5), (83.6, 121.6), (108.3, 122.3), (126.9, 168.5)])
"""Mean landmarks `[5, 2]` (x, y) of generated faces in a 256 px picture, in dlib's order: both eyes, nose."""
TEMPLATE_SIZE = 256
DETECTION_SIZE = 1280
"""Longer side, in px, to which a picture is resized for detection; the detector finds faces of 80 px or more."""
SURE = 0.3
"""Confidence of the detector (0 to about 2) above which false detections are rare."""
MIN_FACE_WIDTH = 48
"""Narrowest usable face, in px of the photo: a narrower one would be enlarged for the age network's 64 px input."""
MARGIN = 3
"""Pixels added to each edge of a part that is cut out, for the interpolation at its edges."""
ALIGNED_SIZES = (256, 512, 1024)
"""Sides, in px, of the square pictures that can be aligned crops."""
ALIGNED_WITHIN = 6.0
"""A picture counts as aligned where alignment would shift its landmarks by less on average, in px of the 256 px crop.

Faces drawn by a generator, which are aligned, are shifted by 1 to 4 px, rarely by 8; photos by dozens.
"""


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a photo: width of its box in px, landmarks `[5, 2]` (x, y) in px, confidence of the detector."""

    width: float
    landmarks: np.ndarray
    confidence: float


@cache
def _detector() -> Any:
    import dlib  # takes a second and 100 MB, and only photos need it

    return dlib.get_frontal_face_detector()


@cache
def _predictor() -> Any:
    import dlib

    return dlib.shape_predictor(str(weights.LANDMARKS.locate()))


def _search(image: Image.Image) -> tuple[np.ndarray, Any, Any]:
    """The resized pixels given to the detector, and the boxes and confidences of its detections in them."""
    scale = DETECTION_SIZE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2))
    for n_upsamplings in (0, 1):
        boxes, confidences, _ = _detector().run(pixels, n_upsamplings, 0.0)
        if boxes:
            break
    return pixels, boxes, confidences


def has_face(image: Image.Image) -> bool:
    """True where the detector finds a face in an RGB picture; needs no weight file."""
    return bool(_search(image)[1])


def find_faces(image: Image.Image) -> list[Face]:
    """Faces of an RGB picture, largest first; empty where there is none.

    The picture is searched at 1280 px, and at 2560 px where that finds nothing. Detections of low confidence are
    dropped; where all are, the most confident one is kept. Raises AdfdError where the landmark file is missing.
    """
    scale = DETECTION_SIZE / max(image.size)
    pixels, boxes, confidences = _search(image)
    faces = []
    for box, confidence in zip(boxes, confidences, strict=True):
        points = [(point.x, point.y) for point in _predictor()(pixels, box).parts()]
        landmarks = rescale(np.array(points, float), 1 / scale)
        faces.append(Face(box.width() / scale, landmarks, confidence))
    sure = [face for face in faces if face.confidence >= SURE]
    sure = sure or sorted(faces, key=lambda face: face.confidence)[-1:]
    return sorted(sure, key=lambda face: -face.width)


def is_aligned(image: Image.Image, landmarks: np.ndarray) -> bool:
    """True where a picture with these landmarks `[5, 2]` (px) is an aligned crop already."""
    if image.width != image.height or image.width not in ALIGNED_SIZES:
        return False
    found = rescale(landmarks, TEMPLATE_SIZE / image.width)
    to_crop = estimate_transform("similarity", found, TEMPLATE)
    if not to_crop:
        return False
    return bool(np.linalg.norm(to_crop(TEMPLATE) - TEMPLATE, axis=1).mean() < ALIGNED_WITHIN)


def rescale(points: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """Coordinates of points `[..., 2]` after the picture is resized by `scale`; integers are pixel centres."""
    return (points + 0.5) * scale - 0.5


def crop_transform(landmarks: np.ndarray, size: int) -> SimilarityTransform:
    """The map from px of a photo to px of the crop of `size` px a side. Raises AdfdError where landmarks coincide."""
    to_crop = estimate_transform("similarity", landmarks, rescale(TEMPLATE, size / TEMPLATE_SIZE))
    if not to_crop or not np.isfinite(to_crop.params).all():  # scikit-image's versions report failure in different ways
        raise AdfdError("the landmarks of the face coincide")
    return to_crop


def crop_corners(to_crop: ProjectiveTransform, size: int) -> np.ndarray:
    """Corners `[4, 2]` (px of the photo) of a crop of `size` px a side, with a margin for the interpolation."""
    ends = (-MARGIN, size + MARGIN)
    return to_crop.inverse(np.array([(x, y) for x in ends for y in ends]))


def align(image: Image.Image, landmarks: np.ndarray, size: int = 1024) -> Image.Image:
    """Crop of `size` px a side in which `landmarks` `[5, 2]` (px of `image`) come closest to the template.

    A similarity transform: rotation, scale and shift. Beyond the photo's edges the photo is mirrored and blurred.
    Raises AdfdError where the landmarks coincide.
    """
    to_crop = crop_transform(landmarks, size)
    # Cut out and shrink the part of the photo under the crop first; the remaining warp is close to a rotation.
    # The margin, in pixels of the photo and of the crop, supplies the interpolation at the crop's edges.
    corners = crop_corners(to_crop, size)
    left, top = np.clip(np.floor(corners.min(axis=0)) - MARGIN, 0, None).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)) + MARGIN, None, image.size).astype(int)
    part_size = np.array([right - left, bottom - top])
    shrunk_size = np.ceil(part_size * min(1.0, float(to_crop.scale))).astype(int)
    part = image.resize(tuple(shrunk_size), Image.Resampling.LANCZOS, (left, top, right, bottom))
    ratio = shrunk_size / part_size
    to_part = to_crop.inverse + AffineTransform(scale=ratio, translation=rescale(-np.array([left, top]), ratio))

    crop = _warp(np.asarray(part), to_part, size, "reflect")
    inside = _warp(np.full(shrunk_size[::-1], 255, np.uint8), to_part, size, "constant")
    if inside.getextrema()[0] == 255:
        return crop
    soft = ImageFilter.GaussianBlur(size / 64)
    return Image.composite(crop, crop.filter(soft), inside.filter(soft))


def _warp(pixels: np.ndarray, to_pixels: AffineTransform, size: int, mode: str) -> Image.Image:
    warped = warp(pixels, to_pixels, output_shape=(size, size), order=3, mode=mode, preserve_range=True)
    return Image.fromarray(warped.round().clip(0, 255).astype(np.uint8))
