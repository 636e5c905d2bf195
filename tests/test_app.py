"""The page to try: what a visitor gets is the command line's; in a browser, and what one visitor may not see."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage import data

from adfd import app
from adfd.basics.errors import AdfdError
from tests.conftest import QUICK, rows_of

pytestmark = pytest.mark.thorough

SETTINGS = (*QUICK, "hardware=cpu", "prepare.steps=2", "prepare.size=256", "refine.max_steps=2")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "eileen.jpg"
    Image.fromarray(data.astronaut()).save(path, quality=95)
    return path


def wish(photo: Path, **changes: Any) -> app.Wish:
    fields: dict[str, Any] = {"age": 60, "method": "diversify", "n_outputs": 2, "regions": (), "seed": 3}
    return app.Wish(**{"photo": photo, "paste": True, "film": False, **fields, **changes})


def repeat(archive: Path, run_stage: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, photo: Path) -> None:
    """The command in an archive, where the photo lies, makes the pictures in it bit for bit."""
    with zipfile.ZipFile(archive) as zipped:
        text = zipped.read("COMMAND.txt").decode()
        command = next(line for line in text.splitlines() if line.startswith("adfd "))
        monkeypatch.chdir(photo.parent)
        run = run_stage(*shlex.split(command)[1:], directory="again")
        rows = {row["output"]: row for row in rows_of(run)}.values()
        assert len(rows) == 2
        for row in rows:
            assert zipped.read(row["image"]) == (run / row["image"]).read_bytes()
            assert zipped.read(row["pasted"]) == (run / row["pasted"]).read_bytes()


def test_what_a_visitor_gets_is_what_the_command_makes(
    photo: Path, run_stage: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps: list[tuple[str, int, int]] = []
    with app.progress.watched(lambda title, done, total, _: steps.append((title, done, total))):
        made = app.make(wish(photo, regions=("hair",)), "tiny", SETTINGS, app.visit(tmp_path))
    assert made.pictures[0][1].startswith("photo, reads ")
    assert len(made.pictures) == 1 + 2 + 2
    assert "channels.regions=[hair]" in made.command
    assert [step for step in steps if step[0] == "invert"][-1][1:] == (3, 3)
    assert [step for step in steps if step[0] == "diversify at 60"]
    repeat(Path(made.archive), run_stage, monkeypatch, photo)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": "magic"}, "method must be one of"),
        ({"n_outputs": 99}, "outputs must lie in 1..8"),
        ({"regions": ("hair", "x]")}, "regions must be of"),
    ],
)
def test_what_cannot_be_is_refused(photo: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(AdfdError, match=told):
        wish(photo, **changes)


def test_a_bomb_is_not_decoded(tmp_path: Path) -> None:
    Image.new("1", (9000, 9000)).save(tmp_path / "bomb.png")
    with pytest.raises(AdfdError, match="81 megapixels, at most 50"):
        app.check_size(tmp_path / "bomb.png")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(AdfdError, match="no picture"):
        app.check_size(tmp_path / "text.jpg")


@pytest.mark.parametrize("name", ["a b.jpg", "it's, {a} $photo.jpg", "plain-1.jpg"])
def test_any_file_name_stays_itself_on_the_command_line(name: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([f"data.path={app.plain(name)}"])
    assert override.value() == name


def test_the_page_is_for_this_machine_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(app, "find_spec", lambda name: object())
    monkeypatch.setattr(app, "page", lambda *_: None)
    monkeypatch.setattr(app, "launch", lambda blocks, host, port, max_mb: asked.update(host=host, max_mb=max_mb))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "")
    monkeypatch.setattr(sys, "argv", ["adfd app", "--model", "tiny", "hardware=cpu"])
    assert app.main() == 0
    assert asked == {"host": "127.0.0.1", "max_mb": 20}


def test_without_gradio_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["adfd app"])
    assert app.main() == 1
    assert "pip install 'adfd[app]'" in capsys.readouterr().err


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a page on the tiny stack."""
    pytest.importorskip("gradio", reason="Gradio is not installed: pip install 'adfd[app]'")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "visits/served"))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    (tmp_path / "visits").mkdir()
    blocks = app.page("tiny", SETTINGS, tmp_path / "visits")
    _, address, _ = app.launch(blocks, "127.0.0.1", None, max_mb=1, block=False)
    yield address
    blocks.close()


def test_one_visitor_s_edit_at_a_time_and_no_open_interface(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="Gradio is not installed: pip install 'adfd[app]'")
    (edit,) = (fn for fn in app.page("tiny", SETTINGS, tmp_path).fns.values() if fn.concurrency_id == "edit")
    assert edit.concurrency_limit == 1
    assert edit.api_visibility == "private"


def status(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_a_visitor_uploads_renders_and_downloads(
    served: str, photo: Path, tmp_path: Path, run_stage: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or pytest.skip("no Chromium is installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        elsewhere: list[str] = []
        page.on("request", lambda request: elsewhere.append(request.url))
        page.goto(served)
        page.set_input_files("#photo input[type=file]", photo)
        page.get_by_text("eileen.jpg").wait_for()
        page.locator("#outputs input[type=number]").fill("2")
        page.locator("#outputs input[type=number]").press("Tab")
        page.click("#go")
        api.expect(page.locator("#gallery img")).to_have_count(5, timeout=60_000)
        assert page.locator("#gallery img").first.evaluate("image => image.naturalWidth") == 256
        assert page.locator("#command textarea").input_value().startswith("adfd model=tiny")
        with page.expect_download() as download:
            page.click("#archive")
        download.value.save_as(tmp_path / "got.zip")
        assert not [url for url in elsewhere if not url.startswith((served, "data:", "blob:"))]

        # a photo that is too large is told so, and the page goes on
        large = tmp_path / "large.jpg"
        large.write_bytes(os.urandom(2_000_000))
        other = browser.new_page()
        other.goto(served)
        other.set_input_files("#photo input[type=file]", large)
        other.get_by_text("maximum allowed size").first.wait_for(timeout=20_000)
        browser.close()
    repeat(tmp_path / "got.zip", run_stage, monkeypatch, photo)

    # nobody reaches a visit's folder, or anything else on the disk, by its path
    visits = tmp_path / "visits"
    files = [*visits.glob("visit-*/runs/*/images/*.png"), *visits.glob("visit-*/photos/*")]
    assert len(files) >= 4
    for file in (*files, photo, Path("/etc/passwd"), Path(app.__file__)):
        assert status(f"{served.rstrip('/')}/gradio_api/file={file}") in (403, 404)
