"""Finding photos on disk and reading them, whatever a camera or a phone made of them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pillow_heif
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from adfd.basics.errors import AdfdError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif")
BACKGROUND = (128, 128, 128)
"""What shows through transparent pixels: 0 in [-1, 1], as unlike a face's surroundings as black or white are not."""

pillow_heif.register_heif_opener()


def find_photos(path: Path) -> list[Path]:
    """Photos of a folder, sorted by name, or the one file that `path` is.

    Raises AdfdError where `path` does not exist or holds no photo. Subfolders and hidden files are left alone.
    """
    if not path.exists():
        raise AdfdError(f"photo path {path} does not exist")
    candidates = sorted(path.iterdir(), key=lambda file: (file.name.casefold(), file.name)) if path.is_dir() else [path]
    photos = [file for file in candidates if _is_photo(file)]
    if not photos:
        raise AdfdError(f"{path} {'holds' if path.is_dir() else 'is'} no photo; photos end in {' '.join(SUFFIXES)}")
    return photos


def _is_photo(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith(".")


def read_photo(path: Path) -> Image.Image:
    """The photo as 8-bit RGB, turned as its EXIF data say, transparency filled with grey.

    Raises AdfdError with a one-line reason where the file is missing, empty, damaged or unreasonably large.
    """
    try:
        if path.stat().st_size == 0:
            raise AdfdError(f"{path.name} is an empty file")
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on, which phones take, and refuses at twice that.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as file:
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
