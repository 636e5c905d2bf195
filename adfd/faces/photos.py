"""Finding photos on disk and reading them, whatever a camera or a phone made of them."""

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
"""What a photo may be, whatever its name: other formats that Pillow knows run programs or read other files."""
BACKGROUND = (128, 128, 128)
"""What shows through transparent pixels: 0 in [-1, 1], as unlike a face's surroundings as black or white are not."""

pillow_heif.register_heif_opener()


@dataclass(frozen=True)
class Search:
    """What was looked for in a folder, and found."""

    root: Path
    """The folder, below which a photo has its name."""
    photos: tuple[Path, ...]
    """Sorted by their names below it."""
    left_out: dict[str, int]
    """How many other things there are, by why they are none."""

    def told(self) -> str:
        """Photos and what is left out, in a line."""
        others = ", ".join(f"{n} {why}" for why, n in self.left_out.items())
        return f"{self.root}: {len(self.photos)} photos" + (f"; left out: {others}" if others else "")


def search(path: Path, recursive: bool = False, pattern: str = "*") -> Search:
    """The photos of a folder that a shell pattern names, in its subfolders too where told, or the one file of `path`.

    A pattern with a slash names paths below the folder, another one names files, in either case. Raises AdfdError
    where `path` does not exist or holds no such photo. Hidden files and folders, and linked folders, are left alone.
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
    """The photos alone."""
    return list(search(path, recursive, pattern).photos)


def _files(path: Path, recursive: bool, left_out: Counter[str]) -> Iterator[Path]:
    """All files of a folder, and of those below it where told; otherwise these are counted."""

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
    """Whether the Pillow in use reads AVIF, which it does from 11.3 on where it was built so."""
    Image.init()
    return "AVIF" in Image.OPEN and bool(features.check("avif"))


def read_photo(path: Path) -> Image.Image:
    """The photo as 8-bit RGB, turned as its EXIF data say, transparency filled with grey.

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
            # Pillow warns from 89 megapixels on, which phones take, and refuses at twice that.
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
    except Exception as error:  # decoders raise whatever they like on damaged data
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
