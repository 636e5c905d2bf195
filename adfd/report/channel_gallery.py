"""Gallery of single channels: pictures of a face with one channel moved, and the judges' readings on them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from adfd.analysis.correlation import latents
from adfd.basics import progress
from adfd.basics.errors import AdfdError
from adfd.basics.files import atomic
from adfd.basics.seeding import output_seed
from adfd.models.networks import Networks
from adfd.runs.animation import Animation, animate
from adfd.runs.directory import to_pil
from adfd.runs.sheets import BACKGROUND, CAPTION, FAINT, GAP, INK, TILE, TITLE
from adfd.stylespace.layout import StyleSpace
from adfd.stylespace.statistics import Channels

LABEL = 190
"""Width in px of the labels left of a sheet's pictures."""


@dataclass(frozen=True)
class Gallery:
    """Settings of the gallery. Raises AdfdError for impossible ones."""

    rows: int
    """Number of the strongest age channels; 0 for no pictures."""
    controls: int
    """Number of random other channels, shown below them."""
    columns: int
    """Pictures of each channel, evenly spaced from -k to +k; odd, so that one is the unchanged face."""
    k: float
    """Largest move to either side, in standard deviations of the channel over random faces."""
    face: int
    """Index of the face among the seed's random faces, from 0."""
    batch_size: int
    """Pictures rendered at once."""

    def __post_init__(self) -> None:
        for key, least in {"rows": 0, "controls": 0, "face": 0, "batch_size": 1}.items():
            if getattr(self, key) < least:
                raise AdfdError(f"gallery.{key} must be at least {least}, got {getattr(self, key)}")
        if self.columns < 3 or self.columns % 2 == 0:
            raise AdfdError(f"gallery.columns must be odd and at least 3, got {self.columns}")
        if not 0 < self.k < math.inf:
            raise AdfdError(f"gallery.k must be positive, got {self.k}")

    @property
    def steps(self) -> list[float]:
        """The move in each column, in sd."""
        middle = self.columns // 2
        return [self.k * (column - middle) / middle for column in range(self.columns)]


@dataclass(frozen=True)
class Strip:
    """One channel moved in steps: for each step the picture, estimated age and similarity to the unchanged face."""

    c: int
    control: bool
    pictures: list[Image.Image]
    ages: list[float]
    id_similarities: list[float]


@dataclass(frozen=True)
class Strips:
    """A rendered gallery: one strip per channel, one picture per step (in sd)."""

    steps: list[float]
    strips: list[Strip]


def strongest(channels: Channels) -> list[int]:
    """Channels sorted by |effect on age|, followed by those without a measured effect, sorted by coef_age.

    Channels with neither are left out.
    """
    slope = None if channels.slope_age is None else channels.slope_age.abs()
    order: list[int] = []
    for statistic in (slope, channels.coef_age):
        if statistic is not None:
            ranked = statistic.nan_to_num(nan=0).argsort(descending=True, stable=True)
            order += [c for c in ranked.tolist() if statistic[c] > 0]
    return list(dict.fromkeys(order))


def chosen(channels: Channels, seed: int, gallery: Gallery) -> tuple[list[int], list[int]]:
    """The gallery's strongest channels, and its random controls, as flat indices."""
    top = strongest(channels)[: gallery.rows]
    order = torch.randperm(
        len(_std(channels)), generator=torch.Generator().manual_seed(output_seed(seed, "gallery", 0))
    )
    return top, [c for c in order.tolist() if c not in top][: gallery.controls]


@torch.inference_mode()
def face(networks: Networks, channels: Channels, seed: int, number: int) -> Tensor:
    """Code `[C]` of random face `number` of a seed: the same faces as in the correlation analysis."""
    psi = 1.0 if channels.psi is None else channels.psi
    *_, (_, w) = latents(networks, number + 1, psi, seed)
    return networks.affine(w[-1:])[0]


def moved(s: Tensor, channels: Channels, c: int, steps: list[float]) -> Tensor:
    """Codes `[steps, C]`: `s` `[C]` with channel `c` moved by each of the steps, in sd."""
    codes = s.repeat(len(steps), 1)
    codes[:, c] += torch.tensor(steps, device=s.device) * float(_std(channels)[c])
    return codes


@torch.inference_mode()
def render(
    networks: Networks,
    channels: Channels,
    seed: int,
    gallery: Gallery,
    on_picture: Callable[[int], object] = lambda n: None,
) -> Strips:
    """Render the gallery; the unchanged face is rendered once.

    `on_picture` is called after each batch with the number of pictures in it. Raises AdfdError where the channel
    statistics have no standard deviations.
    """
    s, middle = face(networks, channels, seed, gallery.face), gallery.columns // 2
    top, controls = chosen(channels, seed, gallery)
    away = [step for step in gallery.steps if step]
    codes = torch.cat([s[None], *(moved(s, channels, c, away) for c in top + controls)])
    pictures, ages, embeddings = [], [], []
    for part in codes.split(gallery.batch_size):
        img = networks.synthesis_pooled(part)
        pictures += [to_pil(picture) for picture in img]
        ages += networks.age(img).tolist()
        embeddings.append(networks.embed(img))
        on_picture(len(part))
    embedding = torch.cat(embeddings)
    similarities = networks.id_similarity(embedding, embedding[:1]).tolist()
    strips = []
    for i, c in enumerate(top + controls):
        numbers = [*range(1 + i * len(away), 1 + (i + 1) * len(away))]
        numbers.insert(middle, 0)
        readings = ([values[n] for n in numbers] for values in (pictures, ages, similarities))
        strips.append(Strip(c, i >= len(top), *readings))
    return Strips(gallery.steps, strips)


def traverse(
    networks: Networks, channels: Channels, seed: int, gallery: Gallery, animation: Animation, path: Path
) -> list[Path]:
    """Animate the gallery's face along its strongest channel, from -k to +k sd and back; returns the files."""
    s, k = face(networks, channels, seed, gallery.face), gallery.k
    return animate(networks, moved(s, channels, strongest(channels)[0], [-k, k, -k]), animation, path)


def make(
    networks: Networks, channels: Channels, seed: int, gallery: Gallery, animation: Animation, run: Path
) -> tuple[Strips | None, list[Path]]:
    """Render the gallery and the animation into a run directory: `gallery.png`, `gallery.csv`, `traversal.*`.

    Returns the strips and the animation's files; None and an empty list where the gallery has no rows.
    """
    if not gallery.rows:
        return None, []
    n_pictures = 1 + sum(map(len, chosen(channels, seed, gallery))) * (gallery.columns - 1)
    with progress.bar(total=n_pictures, desc="gallery", unit="picture") as bar:
        strips = render(networks, channels, seed, gallery, bar.update)
    with atomic(run / "gallery.png") as stream:
        sheet(strips, networks.space).save(stream, "PNG")
    write_csv(strips, networks.space, run / "gallery.csv")
    return strips, traverse(networks, channels, seed, gallery, animation, run / "traversal")


def write_csv(strips: Strips, space: StyleSpace, path: Path) -> None:
    """Write a line per picture of the gallery: channel, step in sd, estimated age, similarity to the unchanged face."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["c", "layer", "channel", "control", "step", "age", "id_similarity"])
        for strip in strips.strips:
            readings = zip(strips.steps, strip.ages, strip.id_similarities, strict=True)
            table.writerows([strip.c, *space.locate(strip.c), int(strip.control), *line] for line in readings)


def sheet(strips: Strips, space: StyleSpace) -> Image.Image:
    """The gallery as one picture: one channel per row, controls at the bottom."""
    height, width = TILE + CAPTION, LABEL + len(strips.steps) * (TILE + GAP)
    image = Image.new("RGB", (width, TITLE + len(strips.strips) * height), BACKGROUND)
    draw = ImageDraw.Draw(image)
    bold, plain = ImageFont.load_default(15), ImageFont.load_default(14)
    for column, step in enumerate(strips.steps):
        draw.text((LABEL + column * (TILE + GAP), 6), step_name(step), INK, bold)
    for row, strip in enumerate(strips.strips):
        y = TITLE + row * height
        layer, channel = space.locate(strip.c)
        name, size = space.layers[layer].name, f"{space.layers[layer].resolution} px"
        lines = [name, f"channel {channel}", size, "random: control" if strip.control else ""]
        for i, line in enumerate(lines):
            draw.text((GAP, y + 8 + i * 20), line, FAINT if i else INK, plain if i else bold)
        for column, picture in enumerate(strip.pictures):
            x = LABEL + column * (TILE + GAP)
            image.paste(picture.resize((TILE, TILE), Image.Resampling.LANCZOS), (x, y))
            draw.text((x, y + TILE + 4), f"reads {strip.ages[column]:.1f}", INK, bold)
            draw.text((x, y + TILE + 24), f"id to the middle {strip.id_similarities[column]:.2f}", FAINT, plain)
    return image


def step_name(step: float) -> str:
    return f"{step:+g} sd" if step else "unmoved"


def _std(channels: Channels) -> Tensor:
    if channels.s_std is None:
        raise AdfdError(
            f"the channels of {channels.generator} come without s_std, by which pictures are moved; "
            "set gallery.rows=0, or make them with: python -m adfd.analyze"
        )
    return channels.s_std
