"""The report: what stands on the page, read back from its HTML; and the page at work in a real browser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from adfd.basics.files import Row
from adfd.evaluation.jobs import Estimate, Job
from adfd.report.run_page import write_report
from tests.conftest import QUICK, rows_of

HOSTILE = "<b>\"x'"
VOID = {"meta", "img", "input", "br", "wbr", "hr", "link"}
SVG = '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><path d="M0 0"/></svg>'


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    inside: list[Element]
    """The elements around it."""
    text: str = ""

    def within(self, *, tag: str = "", css: str = "", id: str = "") -> bool:
        return any(element.matches(tag, css, id) for element in self.inside)

    def matches(self, tag: str = "", css: str = "", id: str = "") -> bool:
        named = not id or self.attributes.get("id") == id
        return named and (not tag or self.tag == tag) and (not css or css in self.attributes.get("class", "").split())


@dataclass
class Page(HTMLParser):
    """The elements of an HTML page, each with all the text in it."""

    html: str
    elements: list[Element] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)
        assert not self._open, f"never closed: {[element.tag for element in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {key: value or "" for key, value in attrs}, list(self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def find(self, tag: str = "", css: str = "", id: str = "", within: str = "") -> list[Element]:
        found = [element for element in self.elements if element.matches(tag, css, id)]
        return [element for element in found if not within or element.within(id=within)]

    def table(self, within: str, number: int = 0) -> list[list[str]]:
        """The cells of a table's body and foot, as text."""
        table = self.find("table", within=within)[number]
        rows = [row for row in self.find("tr") if table in row.inside and not row.within(tag="thead")]
        cells = self.find("td")
        return [[" ".join(cell.text.split()) for cell in cells if row in cell.inside] for row in rows]

    def heads(self, within: str, number: int = 0) -> list[str]:
        table = self.find("table", within=within)[number]
        units = {id(head): unit for unit in self.find("span", "faint") for head in unit.inside if head.tag == "th"}
        heads = [head for head in self.find("th") if table in head.inside]
        return [h.text.removesuffix(units[id(h)].text if id(h) in units else "") for h in heads]


def page_of(path: Path) -> Page:
    return Page(path.read_text())


def estimate(values: list[float], photos: int = 2) -> Estimate:
    mean = sum(values) / len(values)
    return Estimate(mean, 0.0, mean - 0.5, mean + 0.25, photos, len(values))


def estimates(rows: list[Row]) -> dict[str, Estimate]:
    ok = [row for row in rows if row["status"] == "ok"]
    if not ok:
        return {}
    found = {"age_error": estimate([abs(row["age"] - row["target_age"]) for row in ok])}
    return found | {key: estimate([row[key] for row in ok]) for key in ("id_similarity_source", "id_similarity_anchor")}


def job_of(directory: Path, config: dict[str, Any], overrides: list[str], rows: list[Row], **other: Any) -> Job:
    method = next((o.partition("=")[2] for o in overrides if o.startswith("method=")), "diversify")
    fields: dict[str, Any] = {
        "directory": directory,
        "name": directory.name,
        "method": method,
        "overrides": tuple(overrides),
        "command": " ".join(["python -m adfd", *overrides]),
        "config": config,
        "status": "finished",
        "reason": "",
        "rows": rows,
        "estimates": estimates(rows),
        "by_age": {
            age: estimates([r for r in rows if r["target_age"] == age]) for age in {r["target_age"] for r in rows}
        },
        "judges": {"age": "tiny, in the loss"},
    }
    return Job(**fields | other)


def read_job(directory: Path) -> Job:
    """A job from a run directory that a stage wrote."""
    hydra = directory / ".hydra"
    config, overrides = (yaml.safe_load((hydra / f"{name}.yaml").read_text()) for name in ("config", "overrides"))
    return job_of(directory, config, overrides, rows_of(directory))


def made_job(
    directory: Path,
    *overrides: str,
    photos: tuple[str, ...] = ("ann", "bob"),
    ages: tuple[float, ...] = (20.0, 70.0),
    n_outputs: int = 2,
    **other: Any,
) -> Job:
    """A job whose run directory is made by hand: sources that do not depend on the directory, all else does."""
    images = directory / "images"
    images.mkdir(parents=True)
    rows: list[Row] = []
    tint = sum(map(ord, directory.name)) % 40

    def paint(name: str, red: int, green: int, blue: int) -> str:
        Image.new("RGB", (8, 8), (red, green, blue)).save(images / f"{name}.png")
        return f"images/{name}.png"

    for i, photo in enumerate(photos):
        paint(f"{photo}_source", 255, 10 * i, 0)
        for age in ages:
            paint(f"{photo}_age{age:g}_anchor", 0, 10 * i, int(age))
            for output in range(n_outputs):
                rows.append(
                    {
                        "photo": photo,
                        "target_age": age,
                        "output": output,
                        "method": "diversify",
                        "status": "ok",
                        "reason": "",
                        "source_age": 40.0,
                        "anchor_age": age + 1,
                        "age": age + tint / 10 + i + output / 4,
                        "id_similarity_source": 0.7 + tint / 1000 + i / 10 + output / 100,
                        "id_similarity_anchor": 0.9,
                        "image": paint(f"{photo}_age{age:g}_{output}", tint, 100 + 10 * i + output, int(age)),
                    }
                )
    (directory / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (directory / "summary.json").write_text(json.dumps({"skipped_photos": {}}))
    config = other.pop("config", {"seed": 0, "loss": {"aging": 5}})
    return job_of(directory, config, list(overrides), rows, **other)


@pytest.fixture
def sweep(tmp_path: Path) -> list[Job]:
    settings = (("loss.aging=1", "data=folder"), ("loss.aging=10", "data=folder"))
    return [made_job(tmp_path / "sweep" / str(i), *overrides) for i, overrides in enumerate(settings)]


def write(jobs: list[Job], path: Path, **other: Any) -> Page:
    write_report("A sweep", jobs, path, {"A figure": SVG}, **other)
    return page_of(path)


@pytest.mark.thorough
def test_page_of_a_real_sweep(run_stage: Callable[..., Path], tmp_path: Path) -> None:
    short = (
        *QUICK,
        "data=faces",
        "data.seeds=[1,2]",
        "n_outputs=2",
        "target_age=[20,70]",
        "refine.max_steps=2",
        "logger=none",
    )
    directory = run_stage("-m", *short, "logger=none", "method=transform,diversify")
    jobs = [read_job(directory / name) for name in "01"]
    page = write(jobs, tmp_path / "report.html")
    rows = [(job, row) for job in jobs for row in job.rows]
    faces = page.find("figure", "face")
    assert len(rows) == 4 + 8
    for key in ("age", "id_similarity_source", "id_similarity_anchor"):
        shown = sorted(float(face.attributes[f"data-{key.replace('_', '-')}"]) for face in faces)
        assert shown == sorted(row[key] for _, row in rows)
    assert sorted(f"{row['age']:.1f}" for _, row in rows) == sorted(
        re.search(r"reads (\S+),", face.text)[1] for face in faces
    )
    files = [job.directory / row["image"] for job, row in rows]
    files += [job.directory / f"images/{row['photo']}_source.png" for job, row in rows]
    files += [job.directory / f"images/{row['photo']}_age{row['target_age']:g}_anchor.png" for job, row in rows]
    embedded = [image for image in page.find("img") if image.attributes.get("src")]
    assert len(embedded) == len({file.read_bytes() for file in files})
    assert len({image.attributes["id"] for image in embedded}) == len(embedded)
    codes = [code.text for code in page.find("code", within="jobs")]
    for i, job in enumerate(jobs):
        assert job.command in codes
        block = [code.text for code in page.find("code", within=f"job-{i}")]
        assert yaml.safe_load(block[-1]) == job.config
    assert [row[:2] for row in page.table("results")] == [["0", "transform"], ["1", "diversify"]]


def test_picture_on_the_page_is_the_run_s(tmp_path: Path) -> None:
    page = write([made_job(tmp_path / "run")], tmp_path / "report.html", size=4)
    faces = [image for image in page.find("img") if image.within(css="face")]
    assert len(faces) == 8
    data = faces[0].attributes["src"].removeprefix("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown:
        assert shown.size == (4, 4)
        assert shown.getpixel((1, 1)) == pytest.approx(
            Image.open(tmp_path / "run/images/ann_age20_0.png").getpixel((1, 1)), abs=6
        )


def test_equal_pictures_are_embedded_once_and_shown_in_every_group(sweep: list[Job], tmp_path: Path) -> None:
    page = write(sweep, tmp_path / "report.html")
    sources = [figure for figure in page.find("figure", "reference") if "source" in figure.text]
    assert len(sources) == 2 * 2  # photos and ages; the jobs have the same ones
    shown = [image for image in page.find("img") if any(figure in image.inside for figure in sources)]
    assert sum("src" in image.attributes for image in shown) == 2
    copies = [image.attributes["data-like"] for image in page.find("img") if "data-like" in image.attributes]
    assert copies
    assert set(copies) <= {image.attributes.get("id") for image in page.find("img") if "src" in image.attributes}


def test_anchors_that_differ_tell_their_jobs(sweep: list[Job], tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (9, 9, 9)).save(sweep[1].directory / "images/bob_age70_anchor.png")
    page = write(sweep, tmp_path / "report.html")
    anchors = [" ".join(f.text.split()) for f in page.find("figure", "reference") if "anchor" in f.text]
    at_20, at_70 = "anchor reads 21.0", "anchor reads 71.0"
    assert anchors == [at_20, at_70, at_20, f"{at_70}job 0", f"{at_70}job 1"]


def test_a_run_has_a_row_per_target_age_and_one_for_all(tmp_path: Path) -> None:
    job = made_job(tmp_path / "run", ages=(70.0, 8.0, 20.0))
    page = write([job], tmp_path / "report.html")
    assert page.heads("results") == ["target age", "age error", "identity to source", "identity to anchor"]
    assert [row[0] for row in page.table("results")] == ["8", "20", "70", "all"]
    error = job.by_age[8.0]["age_error"]
    assert page.table("results")[0][1] == f"{error.mean:.2f} {error.low:.2f} to {error.high:.2f}"


def test_a_sweep_has_a_column_per_differing_override(sweep: list[Job], tmp_path: Path) -> None:
    third = made_job(tmp_path / "sweep" / "2", "data=folder", "loss=paper")
    page = write([*sweep, third], tmp_path / "report.html")
    assert page.heads("results")[:3] == ["job", "loss.aging", "loss"]
    assert [row[:3] for row in page.table("results")] == [
        ["0", "1", "default"],
        ["1", "10", "default"],
        ["2", "5", "paper"],  # from its configuration
    ]
    assert [code.text for code in page.find("code") if code.within(tag="header")] == ["data=folder"]
    titles = [title.text for title in page.find("h3", within="results")]
    assert titles == ["over all target ages", "at 20 years", "at 70 years"]


def best(page: Page, number: int = 0) -> list[tuple[int, int]]:
    """Row and column of the cells that are marked."""
    return [
        (i, j) for i, row in enumerate(page.table("results", number)) for j, cell in enumerate(row) if " best" in cell
    ]


def test_the_best_of_each_quantity_is_marked(sweep: list[Job], tmp_path: Path) -> None:
    page = write(sweep, tmp_path / "report.html")
    assert page.heads("results")[3:] == ["age error", "identity to source", "identity to anchor"]
    assert best(page) == [(0, 3), (1, 4)]  # the lowest error, the highest identity; identity to anchor is equal
    sorting = [head.attributes["data-sort"] for head in page.find("th", within="results")][3:5]
    assert sorting == ["ascending", "descending"]


def test_an_unfinished_job_is_never_the_best(sweep: list[Job], tmp_path: Path) -> None:
    third = made_job(tmp_path / "sweep" / "2", "data=folder", status="interrupted", photos=("ann",), reason="Ctrl-C")
    third = replace(third, estimates={"age_error": estimate([0.0])})
    page = write([*sweep, third], tmp_path / "report.html")
    assert best(page) == [(0, 3), (1, 4)]
    assert page.table("results")[2][2] == "interrupted"
    assert "Ctrl-C" in page.find("p", "bad")[0].text


def test_jobs_of_other_photos_are_not_ranked(sweep: list[Job], tmp_path: Path) -> None:
    third = made_job(tmp_path / "sweep" / "2", "data=folder", photos=("ann", "carl"))
    page = write([*sweep, third], tmp_path / "report.html")
    assert best(page) == []
    assert "No best is marked" in page.find(id="results")[0].text


def test_what_is_unknown_is_a_dash_that_sorts_last(sweep: list[Job], tmp_path: Path) -> None:
    unknown = replace(sweep[1], estimates={"age_error": Estimate(math.nan, 0, 0, 0, 0, 0)}, by_age={})
    page = write([sweep[0], unknown], tmp_path / "report.html")
    assert page.table("results")[1][3:] == ["–", "–", "–"]
    cells = [cell for cell in page.find("td", within="results") if cell.text == "–"]
    assert {cell.attributes["data-value"] for cell in cells} == {""}


def test_missing_and_broken_pictures_say_so(sweep: list[Job], tmp_path: Path) -> None:
    images = sweep[0].directory / "images"
    (images / "ann_source.png").unlink()
    (sweep[1].directory / "images/ann_source.png").unlink()
    (images / "ann_age20_0.png").unlink()
    (images / "bob_age70_1.png").write_bytes(b"no picture")
    whole = (images / "bob_age70_0.png").read_bytes()
    (images / "bob_age70_0.png").write_bytes(whole[: len(whole) // 2])
    page = write(sweep, tmp_path / "report.html")
    assert len(page.find("figure", "face")) == 16
    reasons = [element.text for element in page.find(css="missing") if element.within(css="face")]
    assert sorted(reasons) == [
        "ann_age20_0.png is not there",
        "bob_age70_0.png cannot be read",
        "bob_age70_1.png cannot be read",
    ]
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))


def test_failed_outputs_and_left_out_photos_are_listed(sweep: list[Job], tmp_path: Path) -> None:
    failed = sweep[1].rows[3] | {"status": "failed", "reason": "the loss is not finite", "age": None, "image": None}
    sweep[1].rows[3] = failed
    for job in sweep:
        summary = {"skipped_photos": {"zoe.jpg": "no face was found"}}
        (job.directory / "summary.json").write_text(json.dumps(summary))
    page = write(sweep, tmp_path / "report.html")
    assert page.table("failures") == [["1", "ann", "70", "1", "the loss is not finite"]]
    assert page.table("skipped") == [["zoe.jpg", "no face was found", "0, 1"]]
    assert len(page.find("figure", "face")) == 15
    assert "15 finished, 1 failed" in [element.text for element in page.find("dd")]


def test_a_job_without_results_has_its_command_and_reason(tmp_path: Path) -> None:
    directory = tmp_path / "0"
    directory.mkdir()
    job = job_of(directory, {"seed": 1}, ["method=guided"], [], status="lost", reason="ended without a summary")
    page = write([job], tmp_path / "report.html")
    assert "No output was finished." in page.find(id="faces")[0].text
    assert "python -m adfd method=guided" in [code.text for code in page.find("code")]
    assert page.find("p", "bad")[0].text == "ended without a summary"


def test_more_faces_than_the_page_holds_are_counted(sweep: list[Job], tmp_path: Path) -> None:
    page = write(sweep, tmp_path / "report.html", max_faces=6)
    assert len(page.find("figure", "face")) == 6
    assert "6 of 16 faces" in page.find("p", "notice")[0].text
    assert "10 are left out" in page.find("p", "notice")[0].text
    assert not write(sweep, tmp_path / "report.html", max_faces=16).find("p", "notice")


def test_facets_are_what_the_faces_do_not_share(sweep: list[Job], tmp_path: Path) -> None:
    third = made_job(tmp_path / "sweep" / "2", "data=folder")  # loss.aging=5, from its configuration
    page = write([*sweep, third], tmp_path / "report.html")
    fields = page.find("fieldset")
    labels = page.find("label", "chip")
    chips = {
        page.find("legend")[i].text: [label.text for label in labels if box in label.inside]
        for i, box in enumerate(fields)
    }
    assert chips == {
        "loss.aging": ["1", "5", "10"],
        "photo": ["ann", "bob"],
        "target age": ["20", "70"],
        "job": ["0", "1", "2"],
    }
    faces = page.find("figure", "face")
    assert faces[0].attributes["data-facets"] == "0 0 0 0"
    assert faces[-1].attributes["data-facets"] == "1 1 1 2"


def test_everything_is_escaped(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    jobs = [
        made_job(
            tmp_path / f"{HOSTILE}{i}",
            f"data.path={evil}{i}",
            photos=(HOSTILE, "&amp;"),
            config={"path": evil},
            judges={"age": evil},
            status="failed",
            reason=evil,
        )
        for i in range(2)
    ]
    jobs[0].rows[0] |= {"status": "failed", "reason": evil}
    (jobs[0].directory / "summary.json").write_text(json.dumps({"skipped_photos": {HOSTILE: evil}}))
    write_report(evil, jobs, tmp_path / "report.html", {evil: SVG}, note=evil)
    page = page_of(tmp_path / "report.html")
    assert len(page.find("script")) == 2
    assert not [element for element in page.find("b") if not element.within(tag="figcaption")]
    assert page.find("title")[0].text == page.find("h1")[0].text == evil
    assert page.find("figcaption", within="figures")[0].text == evil
    assert [row[1] for row in page.table("failures")] == [HOSTILE]
    assert page.table("skipped")[0][:2] == [HOSTILE, evil]
    assert {heading.text for heading in page.find("h3") if heading.within(css="group")} == {
        f"{photo} at {age} years" for photo in (HOSTILE, "&amp;") for age in (20, 70)
    }
    assert f"python -m adfd data.path={evil}1" in [code.text for code in page.find("code")]
    images = [image for image in page.find("img") if image.within(css="face")]
    assert any(image.attributes["alt"].startswith(f"output 1 of {HOSTILE} at 20") for image in images)


def test_the_page_loads_nothing(sweep: list[Job], tmp_path: Path) -> None:
    page = write(sweep, tmp_path / "report.html")
    for element in page.elements:
        for key in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
            assert element.attributes.get(key, "#").startswith(("#", "data:image/")), element
    assert not page.find("link")
    assert not re.search(r"@import|url\(|fetch\(|XMLHttp|import\(", page.html)
    policy = [e.attributes["content"] for e in page.find("meta") if "http-equiv" in e.attributes]
    assert len(policy) == 1
    assert policy[0].startswith("default-src 'none'; img-src data:")


def test_equal_input_gives_an_equal_page(sweep: list[Job], tmp_path: Path) -> None:
    write(sweep, tmp_path / "a.html")
    write(sweep, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_jobs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    jobs = [made_job(tmp_path / parent / "0", f"loss.aging={i}") for i, parent in enumerate(("first", "second"))]
    page = write(jobs, tmp_path / "report.html")
    assert [row[0] for row in page.table("results")] == ["first/0", "second/0"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


def doubted(job: Job) -> Job:
    """A job whose rows the independent judges have read, with each flag up once."""
    rows = [row | {"panel_age": row["age"] + 1.5, "panel_age_source": 38.0, "judges_disagree": 0.0} for row in job.rows]
    rows[0] |= {"reached": False, "judges_disagree": 1.0, "panel_age": rows[0]["age"] + 12}
    rows[1] |= {"anchor_doubtful": True}
    rows[3] |= {"status": "failed", "reason": "the loss is not finite", "image": None}
    return replace(job, rows=rows)


def test_independent_readings_stand_beside_the_loop_s_and_flags_below(tmp_path: Path) -> None:
    job = doubted(made_job(tmp_path / "run"))
    page = write([job], tmp_path / "report.html")
    faces = page.find("figure", "face")
    row = job.rows[0]
    assert f"reads {row['age']:.1f}, independently {row['panel_age']:.1f}, target 20" in faces[0].text
    assert [face.attributes["data-flags"] for face in faces[:3]] == ["not-reached disagreement", "doubtful", ""]
    assert [flag.text for flag in page.find("span", "flag")] == ["not reached", "judges disagree", "doubtful anchor"]
    references = page.find("figure", "reference")
    assert "source reads 40.0, independently 38.0" in " ".join(references[0].text.split())
    assert "independently" not in references[1].text  # nobody asked them about the anchor
    assert "7 finished, 1 failed, 1 not reached" in [element.text for element in page.find("dd")]


def test_a_page_without_independent_judges_says_nothing_of_them(sweep: list[Job], tmp_path: Path) -> None:
    page = write(sweep, tmp_path / "report.html")
    assert "independently" not in page.find(id="faces")[0].text
    assert not page.find(id="flags")


def test_a_page_of_what_goes_on_loads_itself_again(sweep: list[Job], tmp_path: Path) -> None:
    page = write(sweep, tmp_path / "report.html", refresh=5)
    again = [m.attributes["content"] for m in page.find("meta") if m.attributes.get("http-equiv") == "refresh"]
    assert again == ["5"]
    assert 'http-equiv="refresh"' not in write(sweep, tmp_path / "report.html").html


def test_only_the_page_s_own_scripts_may_run(sweep: list[Job], tmp_path: Path) -> None:
    html = write(sweep, tmp_path / "report.html").html
    (policy,) = re.findall(r'content="(default-src[^"]+)"', html)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.search(r"script-src ([^;]*);", policy)[1] == " ".join(f"'sha256-{digest}'" for digest in hashes)


@pytest.mark.slow
def test_flags_slider_and_keys_in_a_browser(browser: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    write([doubted(made_job(tmp_path / "run"))], tmp_path / "report.html")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(f"file://{tmp_path / 'report.html'}")
    count = page.locator("#count")
    page.locator("#flags >> text=judges disagree 1").click()
    expect(count).to_have_text("1 of 7 faces")
    page.locator("#flags >> text=doubtful anchor 1").click()
    expect(count).to_have_text("2 of 7 faces")
    page.get_by_role("button", name="Show all").click()
    expect(count).to_have_text("7 of 7 faces")
    page.locator("#flags >> text=none").click()
    expect(count).to_have_text("5 of 7 faces")
    page.get_by_role("button", name="Show all").click()
    expect(count).to_have_text("7 of 7 faces")
    assert page.locator("#flags a").inner_text() == "failed 1"

    # readings on hover
    details = page.locator(".face .details").first
    expect(details).not_to_be_visible()
    page.locator(".face .enlarge").first.hover()
    expect(details).to_be_visible()
    assert "age error" in details.inner_text()

    # the keyboard alone: to the second face, enlarge, before and after, on, out
    page.mouse.move(0, 0)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("#large h3").inner_text() == "output 1 of ann at 20 years by diversify"
    cut = "getComputedStyle(document.querySelector('.compare')).getPropertyValue('--cut')"
    assert page.evaluate(cut) == "50%"
    page.keyboard.press("b")
    assert page.evaluate(cut) == "0%"
    page.keyboard.press("b")
    assert page.evaluate(cut) == "100%"
    page.locator("#cut").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(cut) == "1%"
    assert "1%" in page.evaluate("getComputedStyle(document.querySelector('.compare .after')).clipPath")
    page.locator("#next").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#large h3").inner_text() == "output 0 of ann at 70 years by diversify"
    page.keyboard.press("Escape")
    expect(page.locator("#large")).not_to_be_visible()
    assert troubles == []


@pytest.mark.slow
def test_the_page_is_readable_with_scripts_off(browser: Any, tmp_path: Path) -> None:
    write([doubted(made_job(tmp_path / "run"))], tmp_path / "report.html")
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"file://{tmp_path / 'report.html'}")
    assert not page.locator("#controls").is_visible()
    assert page.locator(".face").count() == 7
    assert page.locator(".face img").first.bounding_box()["width"] > 100
    page.locator(".face .enlarge").first.hover()
    assert page.locator(".face .details").first.is_visible()
    assert page.get_by_alt_text("source of ann").count() == 2


@pytest.mark.slow
def test_page_at_work_in_a_browser(browser: Any, sweep: list[Job], tmp_path: Path) -> None:
    from playwright.sync_api import expect

    (sweep[0].directory / "images/ann_source.png").unlink()
    write([*sweep, made_job(tmp_path / "sweep" / "2", "data=folder")], tmp_path / "report.html")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: troubles.append(request.url) if not request.url.startswith("data:") else None)
    address = f"file://{tmp_path / 'report.html'}"
    page.goto(address)

    def column(number: int) -> list[str]:
        cells = page.locator(f"#results table >> nth=0 >> css=tbody tr td:nth-child({number})")
        return [text.split()[0] for text in cells.all_inner_texts()]

    def faces(attribute: str = "data-age-error") -> list[str]:
        return page.locator(".face:visible").evaluate_all(f"all => all.map(face => face.getAttribute('{attribute}'))")

    # a heading sorts the table: by mouse and by keyboard, one way and the other
    assert column(2) == ["1", "10", "5"]
    page.get_by_role("button", name="loss.aging").first.click()
    assert column(2) == ["1", "5", "10"]
    page.get_by_role("button", name="loss.aging").first.press("Enter")
    assert column(2) == ["10", "5", "1"]
    page.locator("#results th >> text=identity to source").first.click()
    assert column(5) == sorted(column(5), reverse=True)

    # every picture is there, copies too
    assert page.locator("img").evaluate_all("all => all.every(image => image.complete && image.naturalWidth === 8)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out of a phone

    # filters narrow, within a facet widen, and are taken back
    count = page.locator("#count")
    assert count.inner_text() == "24 of 24 faces"
    at_20, job_1 = (
        page.locator(f"fieldset:has(legend:text-is('{f}')) >> text='{v}'") for f, v in (("target age", 20), ("job", 1))
    )
    at_20.click()
    assert count.inner_text() == "12 of 24 faces"
    assert page.locator(".group:visible h3").all_inner_texts() == ["ann at 20 years", "bob at 20 years"]
    job_1.click()
    assert count.inner_text() == "4 of 24 faces"
    page.locator("fieldset:has(legend:text-is('job')) >> text='2'").click()
    assert count.inner_text() == "8 of 24 faces"

    # sorting lays the faces in one row of all groups, source and anchor beside each
    page.select_option("#order", "age_error")
    assert len(faces()) == 8
    assert list(map(float, faces())) == sorted(map(float, faces()))
    page.locator("#direction").click()
    assert list(map(float, faces())) == sorted(map(float, faces()), reverse=True)
    assert page.locator("#ranked .face:visible .beside > *").count() == 16
    assert page.locator(".group:visible").count() == 0
    page.select_option("#order", label="loss.aging")
    assert faces("data-facets") == sorted(faces("data-facets"), key=lambda facets: facets.split()[0], reverse=True)
    page.get_by_role("button", name="Show all").click()
    expect(count).to_have_text("24 of 24 faces")
    assert page.locator(".group:visible").count() == 4
    assert page.locator("#ranked .face").count() == 0

    # a face enlarges, and the arrows go on to the next one
    page.get_by_role("button", name="Enlarge output 0 of bob at 70 years").first.click()
    assert page.locator("#large h3").inner_text() == "output 0 of bob at 70 years by diversify"
    assert page.locator("#large figure").count() == 3
    page.keyboard.press("ArrowRight")
    assert page.locator("#large h3").inner_text() == "output 1 of bob at 70 years by diversify"
    page.keyboard.press("Escape")
    assert not page.locator("#large").is_visible()

    # a face leads to its job
    page.locator(".face:visible a").last.click()
    assert page.locator("#job-2 .command code").is_visible()
    page.locator("#job-2 .copy").click()
    expect(page.locator("#job-2 .copy")).to_have_text(re.compile("Copied|Selected"))
    assert troubles == [address]


@pytest.mark.slow
def test_many_photos_are_chosen_from_a_list(browser: Any, tmp_path: Path) -> None:
    photos = tuple(f"photo{i}" for i in range(13))
    write([made_job(tmp_path / "run", photos=photos, ages=(70.0,))], tmp_path / "report.html")
    page = browser.new_page()
    page.goto(f"file://{tmp_path / 'report.html'}")
    page.get_by_label("photo", exact=True).select_option("photo11")
    assert page.locator("#count").inner_text() == "2 of 26 faces"
    assert page.locator(".group:visible h3").all_inner_texts() == ["photo11 at 70 years"]
    page.get_by_label("photo", exact=True).select_option("all 13")
    assert page.locator("#count").inner_text() == "26 of 26 faces"
