"""`model=sam`: the paper's stack.

StyleGAN2, SAM's encoders, DEX and ArcFace come from files that the user downloads, LPIPS from the cache folder that
`python -m adfd.models.fetch` fills. All renames of the files' keys are in this file: DEX's dash becomes `_`.
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
from adfd.models.age_path import age_path
from adfd.models.arcface import ArcFace
from adfd.models.checkpoints import Checkpoint
from adfd.models.dex import VGG16, Dex
from adfd.models.draft import load_draft
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
"""Options in SAM's file that determine the latent to which the encoder's offset is added; the first true one counts."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of the networks; the defaults match the published files."""

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
    draft: Path | str | None = None,
    device: torch.device | str = "cpu",
    architecture: Architecture = FFHQ,
) -> Networks:
    """Load the paper's stack from its files, whose keys and shapes must match exactly; they are memory-mapped.

    `perceptual` is "lpips", or "face_features", dlib's distance, reported under its own name. `alexnet` is a
    torchvision AlexNet file that replaces the fetched weights of LPIPS. `start` is the latent to which SAM's offset is
    added: "checkpoint" follows the options in SAM's file; "encoded" and "average" as in `SamTransformer`. `channels` is
    a channels file written by `adfd.analyze`; without one every method except diversify works. `draft` is a file of
    `adfd.distill`, for `refine.draft_steps`. Raises AdfdError naming all missing files at once, or the file that is
    wrong and why.
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
        draft=load_draft(draft, generator),
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
    path_rms: float | None = None,
    draft: Path | str | None = None,
    device: torch.device | str = "cpu",
    architecture: Architecture = FFHQ,
) -> Networks:
    """Load a StyleGAN2 without SAM's encoders: the age path comes from `channels`, and photos are inverted.

    `judges` selects the judges of age and identity: "dlib" (weights in pip packages) or "sam" (DEX and ArcFace, which
    need their files). `path_rms` and `draft` are as for `load_mobile`, the other arguments as for `load_sam`; without
    `channels` the stack can only be analysed. Raises AdfdError where a file is missing or wrong.
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
        transformer=age_path(statistics, made, path_rms),
        channels=statistics,
        draft=load_draft(draft, made),
    )
    return networks.to(device)


def read_sam(
    path: Path, architecture: Architecture = FFHQ, start: str = "checkpoint"
) -> tuple[StyleGAN2, SamTransformer]:
    """Read generator and age transformer from SAM's file. Raises AdfdError where the file has another structure."""
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
    """The latent to which SAM's offset is added, by the options in SAM's file: a value of `SamTransformer.start`.

    "encoded", as SAM was trained, where the file has no such options.
    """
    options = content.get("opts")
    if not isinstance(options, Mapping) or not START_OPTIONS.keys() & options.keys():
        log.info("%s does not say what SAM's offset is added to: the encoded picture is taken (model.start)", path)
        return "encoded"
    return next((start for option, start in START_OPTIONS.items() if options.get(option)), "neither")


def read_stylegan2(path: Path, architecture: Architecture = FFHQ) -> StyleGAN2:
    """Read the generator of a plain StyleGAN2 file. Raises AdfdError where the file has another structure."""
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
    """A generator of this architecture, without weights."""
    name = f"stylegan2-ffhq-{architecture.resolution}"
    return StyleGAN2(name, architecture.resolution, architecture.channels, architecture.w_dim)


def fill_generator(generator: StyleGAN2, state: dict[str, Any], w_avg: Tensor, path: Path, prefix: str = "") -> None:
    """Load a file's entries, whose `prefix` was removed, into a generator, and set its mean latent `w_avg` `[512]`."""
    checkpoints.fill(generator, fold(state), path, prefix)
    generator.w_avg = w_avg.float().clone()


def read_arcface(path: Path, architecture: Architecture = FFHQ) -> ArcFace:
    """Read the judge of identity. Raises AdfdError where the file has another structure."""
    with torch.device("meta"):
        judge = ArcFace(architecture.arcface)
    return _filled(judge, checkpoints.entry(checkpoints.read(path), None, path), path)


def read_dex(path: Path, architecture: Architecture = FFHQ) -> Dex:
    """Read the judge of age. Raises AdfdError where the file has another structure."""
    with torch.device("meta"):
        judge = Dex(architecture.dex, architecture.dex_hidden)
    state = checkpoints.entry(checkpoints.read(path), "state_dict", path)
    return _filled(judge, {key.replace("-", "_"): value for key, value in state.items()}, path)


def _filled(network: nn.Module, state: dict[str, Any], path: Path) -> Any:
    checkpoints.fill(network, state, path)
    return network
