"""`paste=true`: outputs in their photos, of one person and of several, at once or later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from adfd.runs import pasting
from tests.conftest import QUICK, rows_of

pytestmark = pytest.mark.thorough

SHORT = (
    *QUICK,
    "prepare.steps=2",
    "prepare.size=256",
    "n_outputs=2",
    "refine.max_steps=2",
    "logger=none",
    "target_age=60",
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A photo of two people, and the same face alone on a photo that lies on its side."""
    folder = tmp_path / "photos"
    folder.mkdir()
    face = Image.fromarray(data.astronaut())
    both = Image.new("RGB", (912, 512), "grey")
    both.paste(face, (0, 0))
    both.paste(face.resize((400, 400)), (512, 50))
    both.save(folder / "both.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    face.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif, quality=95)
    return folder


def test_everybody_is_back_in_the_photo(run_stage: Callable[..., Path], photos: Path) -> None:
    asked = ("data=folder", f"data.path={photos}", "prepare.faces=all", *SHORT)
    run = run_stage(*asked)
    assert not (run / "pasted").exists()
    made = [(run / row["image"]).stat().st_mtime_ns for row in rows_of(run)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pasting, "paste", lambda *_: 1 / 0)
        run_stage(*asked, "paste=true")  # failures are logged, and the run goes on
    assert not list((run / "pasted").glob("*"))
    run_stage(*asked, "paste=true")  # of a finished run, without making anything anew
    rows = rows_of(run)[6:]
    assert [(run / row["image"]).stat().st_mtime_ns for row in rows_of(run)[:6]] == made
    assert {row["photo"] for row in rows} == {"both", "both#2", "turned"}
    for row in rows:
        assert row["seam_gradient"] > 0
        assert row["seam_gradient_photo"] > 0
        assert row["reason"] == ""
    names = {file.name for file in (run / "pasted").iterdir()}
    alone = {f"{name}_age60_{k}.png" for name in ("both", "both#2") for k in (0, 1)}
    assert names == alone | {f"both_age60_{k}_together.png" for k in (0, 1)} | {f"turned_age60_{k}.jpg" for k in (0, 1)}

    before = np.asarray(Image.open(photos / "both.png"))
    changed = {
        name: (np.asarray(Image.open(run / "pasted" / name)) != before).any(axis=2)
        for name in names - {"turned_age60_0.jpg", "turned_age60_1.jpg"}
    }
    for k in (0, 1):
        left, right = changed[f"both_age60_{k}.png"], changed[f"both#2_age60_{k}.png"]
        assert left.any()
        assert right.any()
        assert not left[:, 512:].any()
        assert not right[:, :512].any()
        assert (changed[f"both_age60_{k}_together.png"] == (left | right)).all()
    with Image.open(run / "pasted/turned_age60_0.jpg") as turned:
        assert turned.size == (512, 512)
        assert turned.getexif().get(0x0112, 1) == 1
        upright = np.asarray(data.astronaut(), float)
        assert np.abs(np.asarray(turned, float)[350:] - upright[350:]).mean() < 6


def test_synthetic_persons_have_no_photo(run_stage: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_stage("data=faces", *SHORT, "paste=true")
    assert "paste=true needs photos to paste into" in capfd.readouterr().err
