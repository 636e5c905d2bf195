"""Which perceptual distance a stack's loss and its own measure of diversity use."""

from __future__ import annotations

from pathlib import Path

from adfd.basics.errors import AdfdError
from adfd.models import dlib_judges, lpips_alex
from adfd.models.networks import Perceptual

PERCEPTUALS = ("lpips", "face_features")


def check_perceptual(perceptual: str) -> None:
    """Raise AdfdError where there is no such distance."""
    if perceptual not in PERCEPTUALS:
        raise AdfdError(f"model.perceptual must be one of {', '.join(PERCEPTUALS)}, got {perceptual}")


def load_perceptual(
    perceptual: str, identity: dlib_judges.DlibIdentity | None = None, alexnet: Path | str | None = None
) -> Perceptual:
    """LPIPS, or the distance of a face network's features: of `identity`, or of dlib's where there is none yet.

    LPIPS stands on the fetched weights, or on those of a torchvision file `alexnet`. Raises AdfdError where they are
    missing.
    """
    check_perceptual(perceptual)
    if perceptual == "face_features":
        return dlib_judges.FacePerceptual(identity or dlib_judges.load_identity())
    if alexnet:
        return lpips_alex.read_alexnet(Path(alexnet))
    try:
        return lpips_alex.load_lpips()
    except AdfdError as error:
        raise AdfdError(f"{error}; model.perceptual=face_features does without") from error
