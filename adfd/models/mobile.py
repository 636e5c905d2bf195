"""`model=mobile`: MobileStyleGAN and dlib's judges, whose weights come inside pip packages."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from adfd.models import dlib_judges
from adfd.models.age_path import LatentAgePath
from adfd.models.mobilestylegan import load_mobilestylegan
from adfd.models.networks import Networks
from adfd.models.perceptual import load_perceptual
from adfd.stylespace.statistics import Channels

SHIPPED_CHANNELS = Path(str(files("adfd") / "data" / "mobilestylegan-ffhq-1024.npz"))


def load_mobile(
    channels: Path | str | None = SHIPPED_CHANNELS, low_pass: bool = True, perceptual: str = "face_features"
) -> Networks:
    """The embedded stack on the CPU, with channel statistics and age path from a channels file.

    `channels=None` loads the networks alone, as the analysis that makes such a file needs them; `low_pass=False` draws
    every picture in full before it is pooled. `perceptual` is the loss's distance, "face_features" or "lpips". Raises
    AdfdError where weights or the channels file are missing or wrong.
    """
    generator = load_mobilestylegan()
    identity = dlib_judges.load_identity()
    statistics = Channels.load(Path(channels), generator.name) if channels else None
    return Networks(
        generator=generator,
        age=dlib_judges.load_age(),
        identity=identity,
        gender=dlib_judges.load_gender(),
        perceptual=load_perceptual(perceptual, identity),
        transformer=LatentAgePath(statistics) if statistics else None,
        channels=statistics,
        low_pass=low_pass,
    )
