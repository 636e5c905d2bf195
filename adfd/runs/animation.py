"""Lifespan animations: one face at its target ages, with interpolated frames between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import imageio_ffmpeg
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from adfd.basics.errors import AdfdError
from adfd.basics.pooling import pool
from adfd.models.networks import Networks
from adfd.runs.directory import to_pil

ENCODERS = {
    # yuv420p: the pixel format that all players support
    "mp4": {"codec": "libx264", "pix_fmt_out": "yuv420p", "output_params": ["-crf", "18", "-movflags", "+faststart"]},
    "gif": {  # one palette for all frames, so that static parts do not flicker; loops endlessly
        "codec": "gif",
        "pix_fmt_out": "pal8",
        "output_params": ["-filter_complex", "split[a][b];[a]palettegen[p];[b][p]paletteuse", "-loop", "0"],
    },
}


@dataclass(frozen=True)
class Animation:
    """Settings of animations. Raises AdfdError for impossible ones."""

    formats: list[str]
    """Any of mp4 and gif; empty for no animation."""
    fps: int
    """Frames per second, 1..50."""
    seconds: float
    """Duration from one age to the next."""
    size: int
    """Side of the frames, in px."""
    interpolation: str
    """linear | smooth (a Catmull-Rom spline through the codes, whose speed does not jump)."""
    caption: bool
    """Whether each frame shows its estimated age."""
    batch_size: int
    """Frames rendered at once."""

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in ENCODERS:
                raise AdfdError(f"animation.formats must be of {', '.join(ENCODERS)}, got {name}")
        if not 1 <= self.fps <= 50:
            raise AdfdError(f"animation.fps must lie in 1..50, which GIF can show, got {self.fps}")
        if not 0 < self.seconds < math.inf:
            raise AdfdError(f"animation.seconds must be positive, got {self.seconds}")
        if self.size < 64 or self.size % 2:
            raise AdfdError(f"animation.size must be even and at least 64 px (H.264 needs even sides), got {self.size}")
        if self.interpolation not in ("linear", "smooth"):
            raise AdfdError(f"animation.interpolation must be linear or smooth, got {self.interpolation}")
        if self.batch_size < 1:
            raise AdfdError(f"animation.batch_size must be at least 1, got {self.batch_size}")

    @property
    def frames_per_step(self) -> int:
        """Number of frames from one age to the next."""
        return max(1, round(self.fps * self.seconds))


def interpolate(codes: Tensor, frames_per_step: int, interpolation: str) -> Tensor:
    """Interpolate between K codes `[K, C]`: `[(K - 1) * frames_per_step + 1, C]`, including the last code.

    Raises ValueError for fewer than two codes.
    """
    if len(codes) < 2:
        raise ValueError(f"an animation needs at least two codes, got {len(codes)}")
    t = torch.arange(frames_per_step, device=codes.device, dtype=codes.dtype)[:, None] / frames_per_step  # [T, 1]
    ends = torch.stack([2 * codes[0] - codes[1], 2 * codes[-1] - codes[-2]])
    p = torch.cat([ends[:1], codes, ends[1:]])
    parts = []
    for before, start, end, after in zip(p, p[1:], p[2:], p[3:], strict=False):
        part = start + t * (end - start)
        if interpolation == "smooth":  # the cubic with the slopes (end - before) / 2 and (after - start) / 2
            leave, arrive = (end - before) / 2 - (end - start), (after - start) / 2 - (end - start)
            part = part + t * (1 - t) * ((1 - t) * leave - t * arrive)
        parts.append(part)
    return torch.cat([*parts, codes[-1:]])


@torch.inference_mode()
def frames(networks: Networks, codes: Tensor, animation: Animation) -> Iterator[Image.Image]:
    """Pictures of codes `[F, C]`, one by one, rendered `animation.batch_size` at a time."""
    for part in codes.split(animation.batch_size):
        img = networks.synthesis(part)
        ages = networks.age(pool(img)).tolist() if animation.caption else [None] * len(part)
        for picture, age in zip(img, ages, strict=True):
            frame = to_pil(picture).resize((animation.size, animation.size), Image.Resampling.LANCZOS)
            if age is not None:
                write_age(frame, age)
            yield frame


def write_age(frame: Image.Image, age: float) -> None:
    """Write the estimated age, in years, into the lower left corner; its outline is legible on any background."""
    size = frame.height // 16
    place, font, outline = (size // 2, frame.height - size // 2), ImageFont.load_default(size), max(1, size // 12)
    draw = ImageDraw.Draw(frame)
    draw.text(place, f"reads {age:.0f}", "white", font, anchor="ls", stroke_width=outline, stroke_fill="black")


def animate(
    networks: Networks,
    codes: Tensor,
    animation: Animation,
    path: Path,
    on_frame: Callable[[], object] = lambda: None,
) -> list[Path]:
    """Write the animation through codes `[K, C]` to `path` with each format's suffix; returns the files.

    Frames are rendered once for all formats; files appear only when complete. `on_frame` is called after each frame.
    """
    codes = interpolate(codes, animation.frames_per_step, animation.interpolation)
    files = [path.with_name(f"{path.name}.{name}") for name in animation.formats]
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        parts = [Path(folder) / file.name for file in files]
        with ExitStack() as stack:
            encoders = [stack.enter_context(closing(_encoder(part, animation))) for part in parts]
            for frame in frames(networks, codes, animation):
                for encoder in encoders:
                    encoder.send(frame.tobytes())
                on_frame()
        for part, file in zip(parts, files, strict=True):
            part.replace(file)
    return files


def _encoder(path: Path, animation: Animation) -> Generator[None, bytes, None]:
    """Generator around an ffmpeg process: send it frames as RGB bytes; after `close`, `path` is written."""
    square = (animation.size, animation.size)
    how = ENCODERS[path.suffix[1:]]
    encoder = imageio_ffmpeg.write_frames(
        str(path), square, fps=animation.fps, quality=None, macro_block_size=1, ffmpeg_log_level="error", **how
    )
    encoder.send(None)
    return encoder
