"""`model=mobile`: MobileStyleGAN and dlib's judges; the weights are files in pip packages."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from adfd.models import dlib_judges
from adfd.models.age_path import age_path
from adfd.models.draft import load_draft
from adfd.models.mobilestylegan import load_mobilestylegan
from adfd.models.networks import Networks
from adfd.models.perceptual import load_perceptual
from adfd.stylespace.statistics import Channels

SHIPPED_DRAFT = Path(str(files("adfd") / "data" / "draft-mobilestylegan-ffhq-1024.npz"))
SHIPPED_CHANNELS = Path(str(files("adfd") / "data" / "mobilestylegan-ffhq-1024.npz"))


def load_mobile(
    channels: Path | str | None = SHIPPED_CHANNELS,
    low_pass: bool = True,
    perceptual: str = "face_features",
    path_rms: float | None = 0.9,
    draft: Path | str | None = SHIPPED_DRAFT,
) -> Networks:
    """Load the embedded stack on the CPU, with channel statistics and age path from a channels file.

    `channels=None` loads the networks without statistics, for the analysis that computes them. `low_pass=False`
    synthesises every picture at full resolution before it is pooled. `perceptual` is the distance in the loss,
    "face_features" or "lpips". `path_rms` limits the root mean square of the styles on the age path, in standard
    deviations (`NaturalAgePath`); None for no limit. `draft` is the file of the generator's draft, None for none.
    Raises AdfdError where weights, the channels file or the draft are missing or wrong.
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
        transformer=age_path(statistics, generator, path_rms),
        channels=statistics,
        low_pass=low_pass,
        draft=load_draft(draft, generator),
    )
