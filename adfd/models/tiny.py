"""`model=tiny`: the embedded stack's architectures at small size with random weights, for fast tests."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import torch
from torch import nn

from adfd.models.age_path import age_path
from adfd.models.dlib_judges import DlibAge, DlibGender, DlibIdentity
from adfd.models.dlib_resnet import DlibResNet, GenderNet
from adfd.models.draft import load_draft
from adfd.models.mobilestylegan import MobileStyleGAN
from adfd.models.networks import Networks
from adfd.models.perceptual import load_perceptual
from adfd.stylespace.statistics import Channels

SHIPPED_CHANNELS = Path(str(files("adfd") / "data" / "tiny-0.npz"))


def load_tiny(
    channels: Path | str | None = SHIPPED_CHANNELS,
    seed: int = 0,
    low_pass: bool = True,
    perceptual: str = "face_features",
    path_rms: float | None = None,
    draft: Path | str | None = None,
) -> Networks:
    """Load a 32 px generator and judges with random weights on the CPU; the same weights for the same seed.

    The other arguments are those of `load_mobile`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = MobileStyleGAN(f"tiny-{seed}", channels=(16, 16, 16), w_dim=32, n_mapping_layers=2)
        identity = DlibIdentity(DlibResNet((8, 8), (1, 2)), size=31, n_dimensions=16)
        age = DlibAge(DlibResNet((8, 8), (1, 2)), size=31)
        gender = DlibGender(GenderNet((4, 4), 8, 16), size=16)
        for network in (generator, identity, age, gender):
            network.apply(_randomise)
        generator.estimate_w_avg()
        _calibrate(generator, age, identity)
    statistics = Channels.load(Path(channels), generator.name) if channels else None
    return Networks(
        generator=generator,
        age=age,
        identity=identity,
        gender=gender,
        perceptual=load_perceptual(perceptual, identity),
        transformer=age_path(statistics, generator, path_rms),
        channels=statistics,
        low_pass=low_pass,
        draft=load_draft(draft, generator),
    )


def _randomise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)


@torch.no_grad()
def _calibrate(generator: MobileStyleGAN, age: DlibAge, identity: DlibIdentity) -> None:
    """Rescale random networks to realistic outputs: colours in [-1, 1], ages over the range, distances around 0.8."""
    generator.affine_weight.mul_(0.5)
    s = generator.affine(generator.mapping(torch.randn(256, generator.w_dim)))
    generator.to_img.weight.div_(generator.synthesis(s).std() / 0.4)
    img = generator.synthesis(s)

    features = age.net(age.crop(img))
    reading = nn.functional.normalize(torch.randn(features.shape[1]), dim=0)
    reading = reading / (features @ reading).std()
    tilt = (age.ages - 40) / 20
    age.head.weight.copy_(torch.outer(tilt, reading))
    age.head.bias.copy_(-tilt * (features @ reading).mean())

    embedding = identity(img)
    identity.head.weight.mul_(0.8 / (embedding[:128] - embedding[128:]).norm(dim=1).mean())
