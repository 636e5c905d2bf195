"""Choice of the perceptual distance that a stack's loss and its `diversity` use."""

from __future__ import annotations

from pathlib import Path

from adfd.basics.errors import AdfdError
from adfd.models import dlib_judges, lpips_alex
from adfd.models.networks import Perceptual

PERCEPTUALS = ("lpips", "face_features")


def check_perceptual(perceptual: str) -> None:
    """Raise AdfdError where `perceptual` names no known distance."""
    if perceptual not in PERCEPTUALS:
        raise AdfdError(f"model.perceptual must be one of {', '.join(PERCEPTUALS)}, got {perceptual}")


def load_perceptual(
    perceptual: str, identity: dlib_judges.DlibIdentity | None = None, alexnet: Path | str | None = None
) -> Perceptual:
    """Load the perceptual distance "lpips" or "face_features".

    "face_features" uses the face network `identity`, or loads dlib's where it is None. "lpips" uses the fetched AlexNet
    weights, or those of the torchvision file `alexnet`. Raises AdfdError where weights are missing.
    """
    check_perceptual(perceptual)
    if perceptual == "face_features":
        return dlib_judges.FacePerceptual(identity or dlib_judges.load_identity())
    if alexnet:
        return lpips_alex.read_alexnet(Path(alexnet))
    try:
        return lpips_alex.load_lpips()
    except AdfdError as error:
        raise AdfdError(f"{error}; model.perceptual=face_features does not need it") from error
