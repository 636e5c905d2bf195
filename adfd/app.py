"""Command "app": a web page to edit one's own photo. `pip install adfd[app]`, `adfd app`.

Edits are made by `adfd.Editor` and equal those of the command line; the download includes the command. One edit runs at
a time. Each visit has its own folder, which is removed when the visit ends.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from adfd.basics import progress
from adfd.basics.errors import AdfdError, command
from adfd.config import build_prepare
from adfd.editor import Editor, Results, quoted
from adfd.faces.photos import SUFFIXES
from adfd.stylespace.regions import REGIONS

METHODS = ("diversify", "guided", "transform", "style_mixing")
MAX_OUTPUTS = 8
MAX_MEGAPIXELS = 50
MAX_WAITING = 20
"""Largest number of visitors in the queue; further ones are asked to return later."""
KEPT = 3600
"""Seconds after which a visit's files are removed."""
FILM_AGES = (10, 25, 40, 55, 70)
USE = (
    "For research and play with pictures of people who agree to it. The pictures are no forecast of what a person will "
    "look like, and the ages are estimates by networks. Nothing leaves the machine that runs this page."
)


@dataclass(frozen=True)
class Wish:
    """A visitor's request. Raises AdfdError with a message for the visitor where a value is impossible."""

    photo: Path
    age: float
    method: str
    n_outputs: int
    regions: tuple[str, ...]
    seed: int
    paste: bool
    film: bool

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise AdfdError(f"method must be one of {', '.join(METHODS)}, got {self.method}")
        if not 1 <= self.n_outputs <= MAX_OUTPUTS:
            raise AdfdError(f"outputs must lie in 1..{MAX_OUTPUTS}, got {self.n_outputs}")
        if unknown := set(self.regions) - set(REGIONS):
            raise AdfdError(f"regions must be of {', '.join(REGIONS)}, got {', '.join(sorted(unknown))}")
        if self.photo.suffix.lower() not in SUFFIXES:
            raise AdfdError(f"a photo ends in {' '.join(SUFFIXES)}, got {self.photo.name}")

    @property
    def overrides(self) -> list[str]:
        """The command line overrides, except those for photo, method and age."""
        regions = [f"channels.regions=[{','.join(self.regions)}]"] if self.regions else []
        return [f"n_outputs={self.n_outputs}", f"seed={self.seed}", *regions, *(["paste=true"] if self.paste else [])]


@dataclass(frozen=True)
class Made:
    """The result of a request: pictures (file, caption), the film if requested, the command, and an archive of all."""

    pictures: list[tuple[str, str]]
    film: str | None
    command: str
    archive: str


def visit(root: Path) -> Path:
    """Make a folder for a new visitor, whose name other visitors cannot guess."""
    return Path(tempfile.mkdtemp(prefix="visit-", dir=root))


def leave(folder: str | None) -> None:
    """Remove a visitor's folder."""
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
        build_prepare.forget()


def make(wish: Wish, model: str, settings: Sequence[str], folder: Path) -> Made:
    """Edit a visitor's photo in the visitor's folder. Raises AdfdError where no face is usable."""
    check_size(wish.photo)
    editor = Editor.load(model, *settings, f"paths.output_dir={quoted(str(folder))}", folder=folder / "runs")
    person = editor.person(wish.photo)
    results = editor.edit(person, wish.method, wish.age, *wish.overrides)
    film = _film(editor, person, wish) if wish.film else None
    asked = [f"model={model}", *settings, "data=folder", f"data.path={plain(wish.photo.name)}"]
    asked += [f"method={wish.method}", f"target_age={wish.age:g}", *wish.overrides]
    command = shlex.join(["adfd", *asked])
    run = results[0].run.path
    pictures = [(str(run / f"images/{person.name}_source.png"), f"photo, reads {person.age:.0f}")]
    pictures += [(str(run / one.row["image"]), caption(one.row)) for one in results]
    back = [one.row for one in results if one.row.get("pasted")]
    pictures += [(str(run / row["pasted"]), f"{caption(row)}, in the photo") for row in back]
    return Made(pictures, film, command, _archive(results, film, command, wish.photo.name))


def plain(name: str) -> str:
    """A file name for Hydra's grammar: quoted where it has characters other than letters, digits, and . _ -."""
    return name if re.fullmatch(r"[\w.-]+", name, re.ASCII) else quoted(name)


def caption(row: dict[str, Any]) -> str:
    short = ", not reached" if row.get("reached") is False else ""
    return f"reads {row['age']:.0f}{short}, identity {row['id_similarity_source']:.2f}"


def check_size(photo: Path) -> None:
    """Raise AdfdError where a photo's header states more than `MAX_MEGAPIXELS`, or is unreadable."""
    try:
        with Image.open(photo) as file:
            pixels = file.width * file.height
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise AdfdError(f"{photo.name} is no picture that can be read") from error
    if pixels > MAX_MEGAPIXELS * 10**6:
        raise AdfdError(f"{photo.name} has {pixels / 1e6:.0f} megapixels, at most {MAX_MEGAPIXELS} are taken")


def _film(editor: Editor, person: Any, wish: Wish) -> str:
    """Path of an animation of the age transformer's renderings of the person at all `FILM_AGES`."""
    ages = f"target_age=[{','.join(map(str, FILM_AGES))}]"
    told = editor.edit(person, "transform", FILM_AGES[0], ages, "animation=mp4", f"seed={wish.seed}")
    return str(told[0].run.path / f"animations/{person.name}.mp4")


def _archive(results: Results, film: str | None, command: str, photo: str) -> str:
    """Path of a ZIP with the pictures, their rows, and the command that reproduces them."""
    run = results[0].run.path
    how = f"In a folder that holds {photo}, with adfd installed (the file's name must be the same):\n\n{command}\n"
    if film:
        ages = ",".join(map(str, FILM_AGES))
        how += f"\nThe film: the same with method=transform target_age=[{ages}] animation=mp4\n"
    path = run.parent / f"adfd-{run.name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # pictures are already compressed
        archive.writestr("COMMAND.txt", how)
        archive.writestr("results.jsonl", "".join(json.dumps(one.row) + "\n" for one in results))
        for one in results:
            for key in ("image", "pasted"):
                if file := one.row.get(key):
                    archive.write(run / file, file)
        if film:
            archive.write(film, f"animations/{Path(film).name}")
    return str(path)


def page(model: str, settings: Sequence[str], root: Path) -> Any:
    """The page as Gradio Blocks. Visitors' folders are made in `root`."""
    import gradio as gr

    def edit(
        photo: str | None,
        age: float,
        method: str,
        n_outputs: float,
        regions: list[str],
        seed: float,
        paste: bool,
        film: bool,
        mine: str | None,
        told: Any = gr.Progress(),  # noqa: B008 -- Gradio recognises this default
    ) -> tuple:
        if not photo:
            raise gr.Error("Drop a photo first.", print_exception=False)
        mine = mine if mine and Path(mine).is_dir() else str(visit(root))
        kept = Path(mine) / "photos" / Path(photo).name
        kept.parent.mkdir(exist_ok=True)
        shutil.copyfile(photo, kept)
        try:
            wish = Wish(kept, age, method, int(n_outputs), tuple(regions), int(seed), paste, film)
            with progress.watched(partial(tell, told)):
                made = make(wish, model, settings, Path(mine))
        except AdfdError as error:
            raise gr.Error(str(error).replace(mine, ""), print_exception=False) from error
        return made.pictures, made.film, made.command, gr.DownloadButton(value=made.archive, interactive=True), mine

    with gr.Blocks(title="adfd", analytics_enabled=False, delete_cache=(KEPT // 6, KEPT)) as blocks:
        mine = gr.State(None, time_to_live=KEPT, delete_callback=leave)
        gr.Markdown(f"# One face at another age\n{USE}")
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                photo = gr.File(label="photo", file_types=list(SUFFIXES), type="filepath", elem_id="photo", height=130)
                age = gr.Slider(0, 80, 70, step=1, label="age, in years", elem_id="age")
                method = gr.Dropdown(list(METHODS), value="diversify", label="method")
                n_outputs = gr.Slider(1, MAX_OUTPUTS, 3, step=1, label="outputs (K)", elem_id="outputs")
                regions = gr.CheckboxGroup(list(REGIONS), label="only change", info="none: everything")
                seed = gr.Number(0, precision=0, minimum=0, label="seed")
                paste = gr.Checkbox(True, label="also in the photo, at its full size")
                film = gr.Checkbox(False, label="also a film through the ages")
                go = gr.Button("Edit", variant="primary", elem_id="go")
            with gr.Column(scale=2, min_width=320):
                gallery = gr.Gallery(label="outputs", columns=3, object_fit="contain", format="png", elem_id="gallery")
                video = gr.Video(label="film", interactive=False, height=360)
                command = gr.Textbox(label="the same on the command line", lines=2, elem_id="command")
                archive = gr.DownloadButton("Download all as ZIP", interactive=False, elem_id="archive")
        go.click(
            edit,
            [photo, age, method, n_outputs, regions, seed, paste, film, mine],
            [gallery, video, command, archive, mine],
            concurrency_limit=1,
            concurrency_id="edit",
            api_visibility="private",
            show_progress_on=gallery,
        )
    return blocks.queue(max_size=MAX_WAITING)


def tell(told: Callable, title: str, done: int, total: int, shown: str) -> None:
    """Pass a progress bar's step to `told`, Gradio's progress bar on the page."""
    told((done, total or None), desc=f"{title} {shown}".strip(), unit="steps")


def launch(blocks: Any, host: str, port: int | None, max_mb: int, block: bool = True) -> Any:
    """Serve the page; it loads nothing from other hosts, and only the visitors' own files are served."""
    import gradio as gr

    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return blocks.launch(
        server_name=host,
        server_port=port,
        share=False,
        max_file_size=f"{max_mb}mb",
        allowed_paths=[],
        footer_links=[],
        theme=theme,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        quiet=True,
        prevent_thread_lock=not block,
    )


@command
def main() -> int:
    """Serve the page until Ctrl-C. Exit code 1 with a message where Gradio or weights are missing."""
    parser = argparse.ArgumentParser(prog="adfd app", description="Serve a web page to edit one's own photo.")
    parser.add_argument("settings", nargs="*", help="as on the command line of adfd: hardware=cpu refine.max_steps=20")
    parser.add_argument("--model", default="mobile", help="the model stack (mobile)")
    parser.add_argument("--host", default="127.0.0.1", help="127.0.0.1: only this machine; 0.0.0.0: everybody")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--max-mb", type=int, default=20, help="largest photo, in megabytes (20)")
    asked = parser.parse_args()
    if find_spec("gradio") is None:
        raise AdfdError("adfd app needs Gradio; pip install 'adfd[app]'")
    with tempfile.TemporaryDirectory(prefix="adfd-app-") as root:
        os.environ["GRADIO_TEMP_DIR"] = f"{root}/served"
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        Editor.load(asked.model, *asked.settings, folder=root)  # fails now, not at the first visit
        print(f"page: http://{asked.host}:{asked.port} (Ctrl-C ends it)", flush=True)
        launch(page(asked.model, asked.settings, Path(root)), asked.host, asked.port, asked.max_mb)
    return 0


if __name__ == "__main__":
    sys.exit(main())
