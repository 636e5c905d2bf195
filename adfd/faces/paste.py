"""Paste an edited face into its photo at the photo's full size: the inverse of `align`.

The seam runs around the face where edit and photo differ least, found by dynamic programming over the radius at every
angle (after Jia et al., "Drag-and-Drop Pasting", 2006). Inside the seam the edit's brightness and colour are corrected
by a harmonic membrane that matches the photo at the seam (Perez et al., "Poisson Image Editing", 2003; here the
membrane is a gain, so that black stays black), and edit and photo are blended over a soft border.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu
from skimage.transform import AffineTransform, ProjectiveTransform, warp

from adfd.basics.errors import AdfdError
from adfd.faces.align import align, crop_corners, crop_transform, rescale
from adfd.faces.photos import read_photo

SIZE = 256
"""Side in px of the crop in which seam, mask and membrane are computed; px below are of this crop unless stated."""
CENTRE = np.array([128.0, 148.0])
"""x, y of the centre of the face in the crop."""
INNER = np.array([60.0, 76.0])
"""Half axes, in px, of the ellipse around eyes, nose and mouth; the seam lies outside it."""
SOFT = 7.0
"""Half width of the soft border, in px."""
EDGE = 2.0
"""Distance in px between the soft border and the crop's edge."""
ANGLES = 360
ROUGH, LEVEL, INWARD = 1.0, 0.35, 6.0
"""Parts of a seam's cost: weights of the differences in detail and in tone, and grey levels for the least radius."""
MAX_GAIN = 1.35
"""Largest factor by which the membrane brightens or darkens; more is needed only where a seam crosses other objects."""
DARK = 16.0
"""Grey levels added to both pictures before their ratio is taken, which is unstable where both are black."""
JPEG_QUALITY = 95


@dataclass(frozen=True, eq=False)
class Pasted:
    """A photo with an edited face, and how visible the seam is."""

    image: Image.Image
    gradient: float
    """Mean step of luminance across the soft border, in grey levels (0..255) per px of the 256 px crop."""
    gradient_photo: float
    """The same of the original photo."""


def paste(photo: Image.Image, landmarks: np.ndarray | None, edit: Image.Image) -> Pasted:
    """Paste `edit`, a square crop of any size, into its upright RGB photo; pixels outside the border are unchanged.

    `landmarks` `[5, 2]` (x, y) are those by which the crop was aligned, in px of the photo; None where the photo itself
    was used as an aligned crop. Raises AdfdError where the landmarks coincide.
    """
    to_crop = placement(photo.size, landmarks)
    source, inside = own_crop(photo, to_crop, landmarks)
    edited = np.asarray(edit.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS), float)
    radius = lay_seam(source - edited, inside)
    mask = soft_mask(radius)
    gain = membrane(np.log((source + DARK) / (edited + DARK)), inside, radius)
    pasted = composite(photo, to_crop, edit, mask, gain)
    after, _ = own_crop(pasted, to_crop, landmarks)
    return Pasted(pasted, across(after, mask, inside), across(source, mask, inside))


def placement(size: tuple[int, int], landmarks: np.ndarray | None) -> ProjectiveTransform:
    """The transform from px of a photo of `size` (width, height) to px of its 256 px crop."""
    if landmarks is not None:
        return crop_transform(landmarks, SIZE)
    ratio = SIZE / np.array(size)
    return AffineTransform(scale=ratio, translation=rescale(np.zeros(2), ratio))


def own_crop(
    photo: Image.Image, to_crop: ProjectiveTransform, landmarks: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The photo's crop `[256, 256, 3]` in grey levels, and a mask `[256, 256]` of the part that the photo covers."""
    crop = photo.resize((SIZE, SIZE), Image.Resampling.LANCZOS) if landmarks is None else align(photo, landmarks, SIZE)
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    places = to_crop.inverse(np.stack([x.ravel(), y.ravel()], 1))
    inside = ((places >= 0) & (places <= np.array(photo.size) - 1)).all(axis=1).reshape(SIZE, SIZE)
    return np.asarray(crop, float), inside


def _polar() -> tuple[np.ndarray, np.ndarray]:
    """Polar coordinates of every px around the centre of the face: angle and radius, `[256, 256]` each."""
    x, y = np.meshgrid(np.arange(SIZE) - CENTRE[0], np.arange(SIZE) - CENTRE[1])
    return np.arctan2(y, x), np.hypot(x, y)


def limits() -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest radius of a seam, `[360]` each, by angle: the ellipse around the features; the crop's edge."""
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    direction = np.stack([np.cos(angle), np.sin(angle)], 1)
    least = 1 / np.linalg.norm(direction / INNER, axis=1)
    with np.errstate(divide="ignore"):
        far = np.where(direction > 0, (SIZE - 1 - EDGE - CENTRE) / direction, (EDGE - CENTRE) / direction)
    greatest = np.where(np.isfinite(far), far, np.inf).min(axis=1) - SOFT
    return np.minimum(least, greatest), greatest


def lay_seam(difference: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Radius `[360]`, in px, of the closed seam along which photo and edit differ least, by angle.

    `difference` `[256, 256, 3]` in grey levels. Px outside the photo cost nothing, since they are not visible.
    """
    slow = gaussian_filter(difference, (10, 10, 0))
    detail = gaussian_filter(np.abs(difference - slow).mean(axis=2), 2)
    tone = np.abs(gaussian_filter(difference, (4, 4, 0))).mean(axis=2)
    cost = np.where(inside, ROUGH * detail + LEVEL * tone, 0)
    least, greatest = limits()
    steps = int(np.ceil((greatest - least).max()))
    share = np.linspace(0, 1, steps + 1)  # 0: the least radius, 1: the greatest
    radii = least[:, None] + (greatest - least)[:, None] * share  # [360, steps + 1]
    angle = 2 * np.pi * np.arange(ANGLES)[:, None] / ANGLES
    places = [CENTRE[1] + radii * np.sin(angle), CENTRE[0] + radii * np.cos(angle)]
    costs = map_coordinates(cost, places, order=1, mode="nearest") + INWARD * (1 - share)
    start = _cheapest(costs)[ANGLES // 2]  # the angle opposite to where the closed path is cut
    rolled = np.roll(costs, -(ANGLES // 2), axis=0)
    way = np.roll(_cheapest(rolled, int(start)), ANGLES // 2)
    return gaussian_filter1d(radii[np.arange(ANGLES), way], 3, mode="wrap")


def _cheapest(costs: np.ndarray, ends: int | None = None) -> np.ndarray:
    """Column indices `[A]` of the cheapest path through `costs` `[A, R]`, which moves at most one column per row.

    It starts and ends in column `ends`; anywhere without one.
    """
    total, came = costs[0].copy(), np.zeros(costs.shape, int)
    if ends is not None:
        total[np.arange(len(total)) != ends] = np.inf
    columns = np.arange(costs.shape[1])
    for row in range(1, len(costs)):
        padded = np.pad(total, 1, constant_values=np.inf)
        choices = np.stack([padded[:-2], padded[1:-1], padded[2:]])
        came[row] = columns + choices.argmin(axis=0) - 1
        total = choices.min(axis=0) + costs[row]
    way = np.zeros(len(costs), int)
    way[-1] = total.argmin() if ends is None else ends
    for row in range(len(costs) - 1, 0, -1):
        way[row - 1] = came[row, way[row]]
    return way


def depth(radius: np.ndarray) -> np.ndarray:
    """Depth of every px inside a seam, `[256, 256]`, in px along the radius; negative outside the seam."""
    angle, distance = _polar()
    around = np.concatenate([radius, radius[:1]])
    return np.interp((angle % (2 * np.pi)) / (2 * np.pi) * ANGLES, np.arange(ANGLES + 1), around) - distance


def soft_mask(radius: np.ndarray) -> np.ndarray:
    """Blending weight of the edit, `[256, 256]`: 1 inside the seam, 0 outside, smooth across the soft border."""
    share = np.clip((depth(radius) + SOFT) / (2 * SOFT), 0, 1)
    return share * share * (3 - 2 * share)


def membrane(difference: np.ndarray, inside: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Gain `[256, 256, 3]` for the edit: the ratio of photo to edit at the seam, harmonic inside the seam.

    `difference` `[256, 256, 3]` is that of their logarithms. Solved at half the resolution, since it is smooth. Where
    the seam lies outside the photo it sets no boundary value.
    """
    weight = gaussian_filter(inside.astype(float), 5) + 1e-6
    blurred = gaussian_filter(difference * inside[..., None], (5, 5, 0)) / weight[..., None]
    blurred = np.clip(blurred, -np.log(MAX_GAIN), np.log(MAX_GAIN))[::2, ::2]
    far = depth(radius)[::2, ::2]
    within = far > -2 * SOFT  # and a rim outside the seam, since the mask is interpolated
    bound = (far < 0.5 * SOFT) & within & inside[::2, ::2]
    shift = np.zeros_like(blurred)
    if bound.any():
        shift[within] = _harmonic(within, bound, blurred)
    return np.exp(np.repeat(np.repeat(gaussian_filter(shift, (1, 1, 0)), 2, axis=0), 2, axis=1))


def _harmonic(within: np.ndarray, bound: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Laplace's equation on the N px of `within`, solved with the boundary `values` on the px of `bound`; `[N, 3]`."""
    n = int(within.sum())
    number = np.full(within.shape, -1)
    number[within] = np.arange(n)
    pairs = [
        np.stack([a.ravel(), b.ravel()], 1) for a, b in ((number[1:], number[:-1]), (number[:, 1:], number[:, :-1]))
    ]
    edges = np.concatenate(pairs)
    edges = edges[(edges >= 0).all(axis=1)]
    edges = np.concatenate([edges, edges[:, ::-1]])
    held = bound[within]
    edges = edges[~held[edges[:, 0]]]
    degree = np.bincount(edges[:, 0], minlength=n)
    rows = np.concatenate([edges[:, 0], np.arange(n)])
    columns = np.concatenate([edges[:, 1], np.arange(n)])
    entries = np.concatenate([-np.ones(len(edges)), np.where(degree > 0, degree, 1)])
    known = np.where(held[:, None], values[within], 0)
    return splu(coo_array((entries, (rows, columns)), shape=(n, n)).tocsc()).solve(known)


def composite(
    photo: Image.Image, to_crop: ProjectiveTransform, edit: Image.Image, mask: np.ndarray, gain: np.ndarray
) -> Image.Image:
    """The photo blended with the edit, times `gain`, by `mask`; only the part under the crop is computed."""
    corners = crop_corners(to_crop, SIZE)
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, None).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)), None, photo.size).astype(int)
    shape = (bottom - top, right - left)
    to_photo = AffineTransform(translation=(left, top))
    enlarged = 1 / float(np.sqrt(abs(np.linalg.det(to_crop.params[:2, :2]))))  # px of the photo per px of the crop
    side = min(edit.width, max(1, round(SIZE * enlarged)))  # shrunk first where the photo's resolution is lower
    part = np.asarray(edit.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), float)
    ratio = side / SIZE
    to_edit = to_photo + to_crop + AffineTransform(scale=ratio, translation=rescale(np.zeros(2), ratio))
    new = warp(part, to_edit, output_shape=shape, order=3, mode="edge", preserve_range=True)
    light = warp(gain, to_photo + to_crop, output_shape=shape, order=1, mode="edge", preserve_range=True)
    new = (new + DARK) * light - DARK
    alpha = warp(mask, to_photo + to_crop, output_shape=shape, order=1, mode="constant", preserve_range=True)[..., None]
    old = np.asarray(photo.crop((left, top, right, bottom)), float)
    mixed = (old + alpha * (np.clip(new, 0, 255) - old)).round().astype(np.uint8)
    pasted = photo.copy()
    pasted.paste(Image.fromarray(mixed), (int(left), int(top)))
    return pasted


def across(crop: np.ndarray, mask: np.ndarray, inside: np.ndarray) -> float:
    """Mean absolute gradient of a crop's luminance across the soft border of a mask, in grey levels per px."""
    luminance = crop @ np.array([0.299, 0.587, 0.114])
    gradient, normal = np.stack(np.gradient(luminance)), np.stack(np.gradient(mask))
    steepness = np.linalg.norm(normal, axis=0) * inside
    if not steepness.any():
        return 0.0
    step = np.abs((gradient * normal).sum(axis=0)) / np.maximum(np.linalg.norm(normal, axis=0), 1e-9)
    return float((step * steepness).sum() / steepness.sum())


def upright(path: Path) -> tuple[Image.Image, dict[str, bytes]]:
    """A photo in upright orientation, and the options with which to save it: its colour profile.

    Rotated by its EXIF orientation. Other EXIF data, such as place and time, are dropped. Raises AdfdError where the
    photo cannot be read.
    """
    image = read_photo(path)
    try:
        with Image.open(path) as file:
            profile = ImageOps.exif_transpose(file).info.get("icc_profile")
    except OSError as error:
        raise AdfdError(f"{path.name} is not readable: {error}") from error
    return image, {"icc_profile": profile} if profile else {}


def suffix(path: Path) -> str:
    """File suffix of a pasted picture: PNG for a PNG photo, JPEG for all others."""
    return ".png" if path.suffix.lower() == ".png" else ".jpg"
