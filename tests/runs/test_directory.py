from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from adfd.basics.errors import AdfdError, OccupiedError
from adfd.basics.files import atomic, finite, held, lock, read_rows
from adfd.basics.harmonic import harmonic_score
from adfd.faces.photos import as_img
from adfd.runs.directory import RunDirectory, mean, summarize, to_pil
from adfd.runs.sheets import GAP, MARK, TILE, TITLE, Tile, render_sheet, stack_sheets

CONFIG = {"seed": 0}


def row(output: int, status: str = "ok") -> dict:
    return {"photo": "a", "target_age": 70.0, "output": output, "status": status}


def test_rows_are_there_at_once_and_the_latest_counts(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    run.append(row(0, "failed"))
    run.append(row(1))
    assert read_rows(tmp_path / "results.jsonl") == [row(0, "failed"), row(1)]
    assert not run.done("a", 70.0, 0)
    run.append(row(0))
    again = RunDirectory(tmp_path, CONFIG)
    assert again.done("a", 70.0, 0)
    assert len(again.rows) == 2


def test_a_folder_belongs_to_one_configuration(tmp_path: Path) -> None:
    RunDirectory(tmp_path, CONFIG)
    with pytest.raises(AdfdError, match="another configuration"):
        RunDirectory(tmp_path, {"seed": 1})


def test_a_run_keeps_others_out_until_it_ends(tmp_path: Path) -> None:
    with RunDirectory(tmp_path, CONFIG) as run:
        assert not held(tmp_path / ".lock")
        run.hold()
        assert held(tmp_path / ".lock")
        with pytest.raises(OccupiedError, match="is in use by process"):
            RunDirectory(tmp_path, CONFIG).hold()
    assert not held(tmp_path / ".lock")


def test_a_line_cut_short_is_ended_and_skipped(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, CONFIG)
    run.append(row(0))
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"photo": "a", "targ')
    again = RunDirectory(tmp_path, CONFIG)
    again.append(row(1))
    assert [r["output"] for r in read_rows(tmp_path / "results.jsonl")] == [0, 1]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        with atomic(tmp_path / "file") as stream:
            stream.write(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fill_the_disk()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_let_go_with_the_process(tmp_path: Path) -> None:
    code = "import sys, time; from adfd.basics.files import lock; held = lock(sys.argv[1]);"
    code += " print(1, flush=True); time.sleep(60)"
    code = code.replace("sys.argv[1]", "__import__('pathlib').Path(sys.argv[1])")
    path = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert held(path)
        with pytest.raises(OccupiedError, match=rf"is in use by process {other.pid} on .*; wait for it or end it"):
            lock(path)
        other.kill()
    assert not held(path)


def test_harmonic_score_wants_both() -> None:
    error, similarity = torch.tensor([0, 20, 10, 50, 0, 60.0]), torch.tensor([1, 0.5, 0.6, 1, -0.2, -1])
    expected = [100, 50, 2 * 75 * 60 / 135, 0, 0, 0]
    assert harmonic_score(error, similarity).tolist() == pytest.approx(expected)
    done = row(0) | dict.fromkeys(("age", "anchor_age"), 60.0) | {"evaluations": 1}
    done |= {"id_similarity_source": 0.6, "id_similarity_anchor": 1.0}
    assert summarize([done], [], "finished", 0)["harmonic"] == pytest.approx(expected[2])
    assert summarize([row(0, "failed")], [], "finished", 0)["harmonic"] is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda v: st.lists(v) | st.dictionaries(st.text(), v),
)


@given(json_values)
def test_finite_is_strict_json(value: object) -> None:
    json.loads(json.dumps(finite(value)), parse_constant=lambda name: pytest.fail(name))


def test_mean_of_what_is_there() -> None:
    assert mean([1.0, None, 3.0]) == 2
    assert mean([None]) is None
    assert mean([]) is None
    assert finite({"a": [math.nan, 1.0]}) == {"a": [None, 1.0]}


def test_pictures_survive_eight_bits() -> None:
    img = torch.rand(3, 16, 16) * 2 - 1
    assert (as_img(to_pil(img))[0] - img).abs().max() <= 1 / 255 + 1e-6
    overshoot = to_pil(torch.full((3, 2, 2), 1.5))
    assert overshoot.getpixel((0, 0)) == (255, 255, 255)


def test_sheets_show_every_tile(tmp_path: Path) -> None:
    for name, colour in (("red", "#ff0000"), ("blue", "#0000ff")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{name}.png")
    tiles = [Tile(tmp_path / "red.png", "source", "reads 30"), Tile(tmp_path / "blue.png", "anchor", "reads 70")]
    sheet = render_sheet("title", tiles)
    marked = render_sheet("title", [tiles[0], replace(tiles[1], mark="not reached")])
    red = ImageColor.getrgb(MARK)
    assert red not in {colour for _, colour in sheet.getcolors(maxcolors=100000)}
    assert marked.getpixel((GAP + TILE + GAP + 2, TITLE + TILE - 2)) == red  # across the second picture's foot
    colours = {colour for _, colour in sheet.getcolors(maxcolors=100000)}
    assert {(255, 0, 0), (0, 0, 255)} <= colours
    stack = stack_sheets([sheet, sheet])
    assert stack.width == sheet.width
    assert stack.height > 2 * sheet.height
