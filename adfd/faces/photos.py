"""Find photos on disk and read them: formats, orientations and bit depths of cameras and phones."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import PIL
import pillow_heif
import torch
from PIL import Image, ImageOps, UnidentifiedImageError, features
from torch import Tensor

from adfd.basics.errors import AdfdError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".bmp", ".gif", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "BMP", "DIB", "GIF", "TIFF")
"""File formats accepted, by content; some of Pillow's other formats run programs or read further files."""
BACKGROUND = (128, 128, 128)
"""Colour behind transparent pixels: mid-grey, 0 in [-1, 1]; black or white would be unusual around a face."""

pillow_heif.register_heif_opener()


@dataclass(frozen=True)
class Search:
    """Result of a search for photos."""

    root: Path
    """The folder; photos are named by their path below it."""
    photos: tuple[Path, ...]
    """Sorted by their names below it."""
    left_out: dict[str, int]
    """Number of other files and folders, by the reason why they were left out."""

    def told(self) -> str:
        """The folder, and the numbers of its photos and of the files left out, as one line."""
        others = ", ".join(f"{n} {why}" for why, n in self.left_out.items())
        return f"{self.root}: {len(self.photos)} photos" + (f"; left out: {others}" if others else "")


def search(path: Path, recursive: bool = False, pattern: str = "*") -> Search:
    """The photos in folder `path` that match a shell pattern, with `recursive` also in its subfolders; or file `path`.

    A pattern with a slash is matched against paths below the folder, any other against file names; upper and lower case
    are the same. Hidden files and folders and symbolic links to folders are skipped. Raises AdfdError where `path` does
    not exist or holds no matching photo.
    """
    if not path.exists():
        raise AdfdError(f"photo path {path} does not exist")
    root, left_out, photos = (path if path.is_dir() else path.parent), Counter[str](), []
    for file in _files(path, recursive, left_out) if path.is_dir() else [path]:
        below = file.relative_to(root).as_posix()
        if file.name.startswith("."):
            left_out["hidden"] += 1
        elif file.suffix.lower() not in SUFFIXES or not file.is_file():
            left_out["with names of no photo"] += 1
        elif not fnmatchcase((below if "/" in pattern else file.name).casefold(), pattern.casefold()):
            left_out[f"not named by data.pattern={pattern}"] += 1
        else:
            photos.append((below.casefold(), below, file))
    found = Search(root, tuple(file for *_, file in sorted(photos)), dict(left_out))
    if not photos:
        others = f" (left out: {found.told().partition('left out: ')[2]})" if left_out and path.is_dir() else ""
        what = "holds" if path.is_dir() else "is"
        raise AdfdError(f"{path} {what} no photo{others}; photos end in {' '.join(SUFFIXES)}")
    return found


def find_photos(path: Path, recursive: bool = False, pattern: str = "*") -> list[Path]:
    """The photos that `search` finds."""
    return list(search(path, recursive, pattern).photos)


def _files(path: Path, recursive: bool, left_out: Counter[str]) -> Iterator[Path]:
    """Files of a folder, with `recursive` also of its subfolders, which are otherwise counted in `left_out`."""

    def refuse(error: OSError) -> None:
        raise error

    for folder, subfolders, names in os.walk(path, onerror=refuse):
        if not recursive:
            if shown := [name for name in subfolders if not name.startswith(".")]:
                left_out["subfolders, which data.recursive=true takes in"] += len(shown)
            subfolders.clear()
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (Path(folder) / name for name in names)


def reads_avif() -> bool:
    """True where the installed Pillow reads AVIF: from 11.3 on, if built with it."""
    Image.init()
    return "AVIF" in Image.OPEN and bool(features.check("avif"))


def read_photo(path: Path) -> Image.Image:
    """The photo as 8-bit RGB, rotated by its EXIF orientation, on a grey background where it is transparent.

    Raises AdfdError with a one-line reason where the file is missing, empty, damaged or unreasonably large.
    """
    try:
        if path.stat().st_size == 0:
            raise AdfdError(f"{path.name} is an empty file")
        if path.suffix.lower() == ".avif" and not reads_avif():
            raise AdfdError(
                f"{path.name} is AVIF, which the installed Pillow {PIL.__version__} does not read; "
                "update it with: pip install --upgrade pillow, or save the photo as PNG"
            )
        with warnings.catch_warnings():
            # Pillow warns above 89 megapixels, which phones reach, and refuses above twice that.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            Image.init()
            with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as file:
                return _rgb(ImageOps.exif_transpose(file))
    except AdfdError:
        raise
    except UnidentifiedImageError:
        raise AdfdError(f"{path.name} is not a picture, or damaged") from None
    except Image.DecompressionBombError:
        raise AdfdError(f"{path.name} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} megapixels") from None
    except Exception as error:  # decoders raise errors of any type on damaged data
        reason = " ".join(str(error).split()) or type(error).__name__
        raise AdfdError(f"{path.name} is not readable: {reason}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip instead of scale
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*BACKGROUND, 255)), image)
    return image.convert("RGB")


def as_img(image: Image.Image) -> Tensor:
    """An RGB picture as `img` `[1, 3, H, W]` in [-1, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
