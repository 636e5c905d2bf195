"""`model=sam`: the paper's stack. StyleGAN2, SAM's encoders, DEX and ArcFace from files that the user downloads, LPIPS
from what `python -m adfd.models.fetch` keeps.

The renames between the files' keys and ours are all here: `_` for the dash of DEX's file.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adfd.basics.errors import AdfdError
from adfd.models import checkpoints, dlib_judges, ir_se50
from adfd.models.age_path import LatentAgePath
from adfd.models.arcface import ArcFace
from adfd.models.checkpoints import Checkpoint
from adfd.models.dex import VGG16, Dex
from adfd.models.networks import Networks
from adfd.models.perceptual import check_perceptual, load_perceptual
from adfd.models.psp import SamTransformer
from adfd.models.stylegan2 import StyleGAN2, fold
from adfd.stylespace.layout import STYLEGAN2_CHANNELS
from adfd.stylespace.statistics import Channels

log = logging.getLogger(__name__)

README = "the README of github.com/yuval-alaluf/SAM"
SAM = Checkpoint("sam", "sam_ffhq_aging.pt", "SAM's encoders and StyleGAN2", "2.3 GB", README)
ARCFACE = Checkpoint(
    "arcface",
    "model_ir_se50.pth",
    "ArcFace IR-SE50 of TreB1eN's InsightFace_Pytorch, the judge of identity",
    "175 MB",
    README,
)
DEX = Checkpoint("dex", "dex_age_classifier.pth", "DEX of Rothe et al. as VGG-16, the judge of age", "540 MB", README)
ALEXNET = Checkpoint(
    "alexnet", "alexnet-owt-7be5be79.pth", "AlexNet's ImageNet weights for LPIPS", "244 MB", "torchvision's alexnet"
)
STYLEGAN2 = Checkpoint(
    "generator",
    "stylegan2-ffhq-config-f.pt",
    "StyleGAN2 FFHQ config F in PyTorch form",
    "381 MB",
    "the README of github.com/eladrich/pixel2style2pixel",
)
JUDGES = ("dlib", "sam")
STARTS = ("checkpoint", "encoded", "average")
START_OPTIONS = {"start_from_latent_avg": "average", "start_from_encoded_w_plus": "encoded"}
"""Options in SAM's file that say what its encoder's offset is added to; the first that is true counts."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of the networks; the defaults are those of the published files."""

    resolution: int = 1024
    channels: dict[int, int] = field(default_factory=lambda: STYLEGAN2_CHANNELS)
    w_dim: int = 512
    encoder: ir_se50.Stages = ir_se50.STAGES
    arcface: ir_se50.Stages = ir_se50.STAGES
    dex: tuple[tuple[int, int], ...] = VGG16
    dex_hidden: int = 4096


FFHQ = Architecture()


def load_sam(
    sam: Path | str,
    arcface: Path | str,
    dex: Path | str,
    alexnet: Path | str | None = None,
    channels: Path | str | None = None,
    perceptual: str = "lpips",
    start: str = "checkpoint",
    device: torch.device | str = "cpu",
    architecture: Architecture = FFHQ,
) -> Networks:
    """The paper's stack from its files, which are read strictly and mapped into memory.

    `perceptual` is "lpips", or "face_features": dlib's distance, reported under that name. `alexnet` is a torchvision
    file of AlexNet for LPIPS to stand on in place of the fetched one. `start` is what SAM's offset is added to:
    "checkpoint", as the options in SAM's file say, or "encoded" or "average" (`SamTransformer`). `channels` is a file
    made by `adfd.analyze`; without one all but diversify works. Raises AdfdError naming all missing files at once, or
    the file that is wrong and why.
    """
    if start not in STARTS:
        raise AdfdError(f"model.start must be one of {', '.join(STARTS)}, got {start}")
    check_perceptual(perceptual)
    paths = {SAM: Path(sam), ARCFACE: Path(arcface), DEX: Path(dex)}
    if alexnet:
        paths[ALEXNET] = Path(alexnet)
    checkpoints.find(paths)
    distance = load_perceptual(perceptual, alexnet=alexnet)
    generator, transformer = read_sam(paths[SAM], architecture, start)
    networks = Networks(
        generator=generator,
        age=read_dex(paths[DEX], architecture),
        identity=read_arcface(paths[ARCFACE], architecture),
        gender=dlib_judges.load_gender(),
        perceptual=distance,
        transformer=transformer,
        channels=Channels.load(Path(channels), generator.name) if channels else None,
    )
    return networks.to(device)


def load_stylegan2(
    generator: Path | str,
    judges: str = "dlib",
    arcface: Path | str | None = None,
    dex: Path | str | None = None,
    alexnet: Path | str | None = None,
    channels: Path | str | None = None,
    perceptual: str = "face_features",
    device: torch.device | str = "cpu",
    architecture: Architecture = FFHQ,
) -> Networks:
    """A StyleGAN2 of its own, without SAM's encoders: the age path comes from `channels`, and photos are inverted.

    `judges` of age and identity are "dlib" (inside pip packages) or "sam" (DEX and ArcFace, whose files are needed
    then). The rest is as in `load_sam`; without `channels` the networks can only be analysed.
    """
    if judges not in JUDGES:
        raise AdfdError(f"model.judges must be one of {', '.join(JUDGES)}, got {judges}")
    check_perceptual(perceptual)
    paths = {STYLEGAN2: Path(generator)}
    if judges == "sam":
        if not (arcface and dex):
            raise AdfdError("model.judges=sam needs model.arcface and model.dex")
        paths |= {ARCFACE: Path(arcface), DEX: Path(dex)}
    if alexnet:
        paths[ALEXNET] = Path(alexnet)
    checkpoints.find(paths)
    distance = load_perceptual(perceptual, alexnet=alexnet)
    made = read_stylegan2(paths[STYLEGAN2], architecture)
    statistics = Channels.load(Path(channels), made.name) if channels else None
    networks = Networks(
        generator=made,
        age=read_dex(paths[DEX], architecture) if judges == "sam" else dlib_judges.load_age(),
        identity=read_arcface(paths[ARCFACE], architecture) if judges == "sam" else dlib_judges.load_identity(),
        gender=dlib_judges.load_gender(),
        perceptual=distance,
        transformer=LatentAgePath(statistics) if statistics else None,
        channels=statistics,
    )
    return networks.to(device)


def read_sam(
    path: Path, architecture: Architecture = FFHQ, start: str = "checkpoint"
) -> tuple[StyleGAN2, SamTransformer]:
    """Generator and age transformer. Raises AdfdError where the file is of another form."""
    content = checkpoints.read(path)
    state = checkpoints.entry(content, "state_dict", path)
    latent_avg = checkpoints.entry(content, "latent_avg", path, Tensor)
    decoder = checkpoints.part(state, "decoder.")
    start = optioned_start(content, path) if start == "checkpoint" else start
    with torch.device("meta"):
        generator = make_generator(architecture)
        transformer = SamTransformer(generator.space.n_w_rows, architecture.w_dim, architecture.encoder, start)
    encoders = {key: value for key, value in state.items() if not key.startswith("decoder.")}
    checkpoints.fill(transformer, {**encoders, "latent_avg": latent_avg}, path)
    fill_generator(generator, decoder, latent_avg.mean(dim=0), path, "decoder.")
    return generator, transformer


def optioned_start(content: Mapping[str, Any], path: Path) -> str:
    """What the options in SAM's file say that the offset is added to; a file that says nothing: as SAM was trained."""
    options = content.get("opts")
    if not isinstance(options, Mapping) or not START_OPTIONS.keys() & options.keys():
        log.info("%s does not say what SAM's offset is added to: the encoded picture is taken (model.start)", path)
        return "encoded"
    return next((start for option, start in START_OPTIONS.items() if options.get(option)), "neither")


def read_stylegan2(path: Path, architecture: Architecture = FFHQ) -> StyleGAN2:
    """The generator of a plain StyleGAN2 file. Raises AdfdError where the file is of another form."""
    content = checkpoints.read(path)
    state = checkpoints.entry(content, "g_ema", path)
    latent_avg = checkpoints.entry(content, "latent_avg", path, Tensor)
    with torch.device("meta"):
        generator = make_generator(architecture)
    if latent_avg.numel() != generator.w_dim:
        raise AdfdError(f"{path} holds another network: latent_avg {list(latent_avg.shape)}, not [{generator.w_dim}]")
    fill_generator(generator, state, latent_avg.flatten(), path)
    return generator


def make_generator(architecture: Architecture) -> StyleGAN2:
    name = f"stylegan2-ffhq-{architecture.resolution}"
    return StyleGAN2(name, architecture.resolution, architecture.channels, architecture.w_dim)


def fill_generator(generator: StyleGAN2, state: dict[str, Any], w_avg: Tensor, path: Path, prefix: str = "") -> None:
    """Fill a generator from a file's entries, whose `prefix` is off, and set its mean latent `[512]`."""
    checkpoints.fill(generator, fold(state), path, prefix)
    generator.w_avg = w_avg.float().clone()


def read_arcface(path: Path, architecture: Architecture = FFHQ) -> ArcFace:
    with torch.device("meta"):
        judge = ArcFace(architecture.arcface)
    return _filled(judge, checkpoints.entry(checkpoints.read(path), None, path), path)


def read_dex(path: Path, architecture: Architecture = FFHQ) -> Dex:
    with torch.device("meta"):
        judge = Dex(architecture.dex, architecture.dex_hidden)
    state = checkpoints.entry(checkpoints.read(path), "state_dict", path)
    return _filled(judge, {key.replace("-", "_"): value for key, value in state.items()}, path)


def _filled(network: nn.Module, state: dict[str, Any], path: Path) -> Any:
    checkpoints.fill(network, state, path)
    return network
