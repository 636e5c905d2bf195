"""Curves through codes, and the files that an independent reader finds them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from adfd.models.networks import Networks
from adfd.runs import animation
from adfd.runs.animation import Animation, animate, frames, interpolate

SETTINGS: dict[str, Any] = {
    "formats": ["gif", "mp4"],
    "fps": 10,
    "seconds": 0.5,
    "size": 64,
    "interpolation": "smooth",
    "caption": True,
    "batch_size": 4,
}


@pytest.fixture(scope="module")
def codes(tiny: Networks) -> torch.Tensor:
    z = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    return tiny.affine(tiny.mapping(z))


@pytest.mark.parametrize("kind", ["linear", "smooth"])
def test_the_curve_meets_every_code(kind: str) -> None:
    codes = torch.randn(4, 6)
    curve = interpolate(codes, 5, kind)
    assert curve.shape == (16, 6)
    torch.testing.assert_close(curve[::5], codes)
    line = torch.arange(4.0)[:, None] * torch.ones(6)
    torch.testing.assert_close(interpolate(line, 4, kind)[:, 0], torch.arange(13) / 4)
    assert interpolate(codes[:2], 1, kind).shape == (2, 6)


def test_smooth_has_no_jerk_and_linear_is_linear() -> None:
    codes = torch.tensor([[0.0], [1.0], [0.0], [3.0]])
    torch.testing.assert_close(interpolate(codes, 4, "linear")[:5, 0], torch.tensor([0, 0.25, 0.5, 0.75, 1]))
    speed = interpolate(codes, 1000, "smooth").diff(dim=0)[:, 0] * 1000
    for age in (1000, 2000):
        assert abs(speed[age] - speed[age - 1]) < 0.05
    assert speed[1000].item() == pytest.approx(0, abs=0.05)  # the slope between the neighbours
    assert speed[2000].item() == pytest.approx(1, abs=0.05)
    with pytest.raises(ValueError, match="at least two codes, got 1"):
        interpolate(codes[:1], 4, "smooth")


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_frames_are_the_syntheses_of_the_codes(tiny: Networks, codes: torch.Tensor, batch_size: int) -> None:
    plain = Animation(**SETTINGS | {"caption": False, "batch_size": batch_size})
    found = list(frames(tiny, codes, plain))
    assert [frame.size for frame in found] == [(64, 64)] * 3
    expected = ((tiny.synthesis(codes).clamp(-1, 1) + 1) * 127.5).round()
    for frame, img in zip(found, expected, strict=True):
        whole = Image.fromarray(img.permute(1, 2, 0).byte().numpy()).resize((64, 64), Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(frame, int) - np.asarray(whole, int)).max() <= 2
    written = next(iter(frames(tiny, codes, Animation(**SETTINGS))))
    changed = np.asarray(written, int) != np.asarray(found[0], int)
    assert changed[48:, :48].any()
    assert not changed[:40].any()


def test_files_hold_all_frames(tiny: Networks, codes: torch.Tensor, tmp_path: Path) -> None:
    seen: list[int] = []
    made = animate(tiny, codes, Animation(**SETTINGS), tmp_path / "a" / "seed1.v2", on_frame=lambda: seen.append(1))
    assert [file.name for file in made] == ["seed1.v2.gif", "seed1.v2.mp4"]
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["seed1.v2.gif", "seed1.v2.mp4"]
    assert len(seen) == 11
    with Image.open(made[0]) as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"], gif.info["duration"]) == (11, (64, 64), 0, 100)
        first = np.asarray(gif.convert("RGB"), int)
    video = imageio_ffmpeg.read_frames(made[1])
    meta = next(video)
    assert (meta["codec"], meta["pix_fmt"].split("(")[0], meta["size"], meta["fps"]) == (
        "h264",
        "yuv420p",
        (64, 64),
        10,
    )
    assert meta["duration"] == pytest.approx(1.1, abs=0.05)
    pictures = [np.frombuffer(frame, np.uint8).reshape(64, 64, 3).astype(int) for frame in video]
    assert len(pictures) == 11
    expected = [np.asarray(f, int) for f in frames(tiny, interpolate(codes, 5, "smooth"), Animation(**SETTINGS))]
    for picture, frame in zip(pictures, expected, strict=True):
        assert np.abs(picture.mean(axis=2) - frame.mean(axis=2)).mean() < 12  # colours are halved in resolution
    assert np.abs(first - expected[0]).mean() < 16


def test_what_fails_leaves_no_file(
    tiny: Networks, codes: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.gif").write_text("old")
    original = animation.frames

    def failing(*arguments: Any) -> Any:
        yield next(original(*arguments))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(animation, "frames", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        animate(tiny, codes, Animation(**SETTINGS), tmp_path / "a")
    assert [file.name for file in tmp_path.iterdir()] == ["a.gif"]
    assert (tmp_path / "a.gif").read_text() == "old"
