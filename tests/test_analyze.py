"""The analysis stage on tiny networks, as its command line runs it: what it shows a person."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

from adfd.analysis.correlation import latents
from adfd.basics.errors import AdfdError
from adfd.models import load_tiny
from adfd.models.networks import Networks
from adfd.report import channel_figures, channel_gallery, channel_page, convergence
from adfd.report.channel_figures import draw
from adfd.report.channel_gallery import Gallery, Strip, Strips, chosen, strongest
from adfd.stylespace.regions import REGIONS
from adfd.stylespace.statistics import Channels
from tests.report.test_channel_figures import moved
from tests.runs.test_tracking import items, records

Run = Callable[..., Path]
QUICK = ("analysis.n_samples=60", "analysis.n_pairs=500", "analysis.n_permutations=5", "logger=none")
SMALL = (*QUICK, "gallery.rows=3", "gallery.controls=2", "animation.fps=2", "animation.size=64")
BARE = (*QUICK, "gallery.rows=0")


def analysed(run: Path) -> Channels:
    return Channels.load(run / "channels.npz", "tiny-0")


def lines(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


class Page(HTMLParser):
    """What a page loads, links to, and holds in the table of channels."""

    VOID = ("meta", "img", "br", "link", "input", "source")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.alts: list[str] = []
        self.open: list[str] = []
        self.cells: list[list[dict[str, str | None]]] = []
        self.heads: list[str] = []
        self.table: str | None = None
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.loads += [values[key] or "" for key in ("src", "href", "xlink:href", "data", "poster") if key in values]
        if tag == "img":
            self.alts.append(values["alt"] or "")
        if tag == "table":
            self.table = values.get("id")
        if self.table == "channels" and tag == "tr" and "thead" not in self.open:
            self.cells.append([])
        if self.table == "channels" and tag == "td":
            self.cells[-1].append({**values, "text": ""})

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.table == "channels" and self.open[-1:] == ["td"]:
            self.cells[-1][-1]["text"] = str(self.cells[-1][-1]["text"]) + data
        if self.table == "channels" and self.open[-1:] == ["th"]:
            self.heads.append(data)


def test_run_directory_and_page_are_complete(run_stage: Run, tmp_path: Path, tiny: Networks) -> None:
    run = run_stage(*SMALL, "compare=adfd/data/tiny-0.npz", "logger=csv", stage="analyze")
    channels = analysed(run)
    figures = {file.stem for file in (run / "figures").glob("*.svg")}
    assert figures == {"coef_age_map", "coef_id_map", "coef_age_histogram", "coef_id_histogram", "comparison"}
    with Image.open(run / "gallery.png") as sheet:
        assert sheet.width > 5 * 256
        assert sheet.height > 5 * 256
    with Image.open(run / "traversal.gif") as film:
        assert (film.size, film.n_frames) == ((64, 64), 5)  # type: ignore[attr-defined]
    summary = json.loads((run / "summary.json").read_text())
    assert channels.p_age is not None
    assert (summary["status"], summary["n_samples"], summary["psi"], summary["seed"]) == ("finished", 60, 0.9, 0)
    assert summary["significant_age"] == int(channels.significant("age", 0.01).sum())
    assert summary["stability_id"] == pytest.approx(channels.stability_id)
    assert channels.coef_age is not None
    assert tiny.channels is not None
    theirs = spearmanr(tiny.channels.coef_age, channels.coef_age).statistic
    assert summary["rank_correlation_compared_coef_age"] == pytest.approx(theirs)
    metrics = {line["metric"]: float(line["value"]) for line in lines(run / "metrics.csv")}
    assert metrics["stability_age"] == pytest.approx(channels.stability_age)

    page = Page(run / "channels.html")
    assert not page.open
    assert all(target.startswith(("data:", "#")) for target in page.loads)
    assert not re.search(r"@import|url\((?!#|data:)", page.text)
    assert sum(target.startswith("data:image/gif") for target in page.loads) == 1
    assert len(page.alts) == 5 * 5 + 1
    assert page.text.count("<svg") == 5
    order = channels.coef_age.argsort(descending=True, stable=True)[:50].tolist()
    column = page.heads.index("coef_age")
    found = [float(row[column]["data-value"] or "nan") for row in page.cells]
    assert found == pytest.approx(channels.coef_age[order].tolist(), abs=1e-6)
    places = [(row[0]["text"], int(row[page.heads.index("channel")]["text"] or -1)) for row in page.cells]
    located = [tiny.space.locate(c) for c in order]
    assert places == [(tiny.space.layers[layer].name, channel) for layer, channel in located]


@pytest.mark.thorough
def test_gallery_shows_what_the_judges_read(run_stage: Run) -> None:
    run = run_stage(*SMALL, "seed=3", "gallery.k=4", "gallery.face=7", stage="analyze")
    networks, channels = load_tiny(None), analysed(run)
    assert channels.coef_age is not None
    assert channels.s_std is not None
    table = lines(run / "gallery.csv")
    assert len(table) == 5 * 5
    assert [float(line["step"]) for line in table[:5]] == [-4, -2, 0, 2, 4]
    top = list(dict.fromkeys(int(line["c"]) for line in table if line["control"] == "0"))
    controls = {int(line["c"]) for line in table if line["control"] == "1"}
    assert top == channels.coef_age.argsort(descending=True)[:3].tolist()
    assert len(controls) == 2
    assert not controls & set(top)
    with torch.no_grad():
        _, w = next(latents(networks, 60, 0.9, 3))
        for line in table:
            s = networks.affine(w)[7:8].clone()
            unmoved = networks.embed(networks.synthesis(s))
            s[0, int(line["c"])] += float(line["step"]) * channels.s_std[int(line["c"])]
            img = networks.synthesis(s)
            assert float(line["age"]) == pytest.approx(networks.age(img).item(), abs=1e-3)
            similarity = networks.id_similarity(networks.embed(img), unmoved).item()
            assert float(line["id_similarity"]) == pytest.approx(similarity, abs=1e-4)
    alts = Page(run / "channels.html").alts
    assert f"reads {float(table[0]['age']):.1f}" in alts[0]
    assert "-4 sd" in alts[0]


def test_the_unmoved_face_is_rendered_once(tiny: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []
    synthesis = tiny.generator.synthesis
    monkeypatch.setattr(tiny.generator, "synthesis", lambda s: rendered.append(len(s)) or synthesis(s))
    assert tiny.channels is not None
    strips = channel_gallery.render(
        tiny, tiny.channels, 0, Gallery(rows=2, controls=1, columns=5, k=5.0, face=0, batch_size=4)
    )
    assert sum(rendered) == 1 + 3 * 4
    assert max(rendered) == 4
    assert len({strip.ages[2] for strip in strips.strips}) == 1


def test_moved_channels_come_first(tiny: Networks) -> None:
    assert tiny.channels is not None
    channels = moved(tiny.channels)
    assert channels.slope_age is not None
    order = strongest(channels)
    n_moved = int((channels.slope_age.abs() > 0).sum())
    slopes = channels.slope_age[order].abs()
    assert (slopes[: n_moved - 1] >= slopes[1:n_moved]).all()
    assert slopes[n_moved:].isnan().all()
    assert len(order) == len(set(order)) == tiny.space.n_channels
    settings = Gallery(rows=4, controls=3, columns=3, k=1.0, face=0, batch_size=1)
    top, controls = chosen(channels, 0, settings)
    assert top == order[:4]
    assert not set(top) & set(controls)
    assert chosen(channels, 0, settings)[1] == controls
    assert chosen(channels, 1, settings)[1] != controls
    numbers = channel_page.key_numbers(channels, 0.01)
    assert numbers["significant_slope"] == n_moved


@pytest.mark.thorough
def test_without_a_gallery_there_are_no_pictures(run_stage: Run) -> None:
    run = run_stage(*BARE, stage="analyze")
    assert not [*run.glob("gallery.*"), *run.glob("traversal.*")]
    assert not Page(run / "channels.html").alts


@pytest.mark.thorough
@pytest.mark.parametrize("analysis", ["sensitivity", "intervention"])
def test_other_analyses_add_to_what_is_known(run_stage: Run, tiny: Networks, analysis: str) -> None:
    few = (
        "analysis.n_faces=2",
        *(("analysis.n_channels=3", "analysis.n_controls=2") if analysis == "intervention" else ()),
    )
    run = run_stage(f"analysis={analysis}", *few, *SMALL[3:], stage="analyze")
    found = analysed(run)
    assert tiny.channels is not None
    assert torch.equal(found.coef_age, tiny.channels.coef_age)  # type: ignore[arg-type]
    assert (found.n_faces_sensitivity if analysis == "sensitivity" else found.n_faces) == 2
    assert all(load.startswith(("data:", "#")) for load in Page(run / "channels.html").loads)
    assert found.main_regions() is not None
    assert {line["region"] for line in lines(run / "channels.csv")} <= {*REGIONS, ""}


def test_page_of_an_intervention(tiny: Networks, tmp_path: Path) -> None:
    assert tiny.channels is not None
    channels, picture = moved(tiny.channels), Image.new("RGB", (8, 8))
    strips = Strips([-1.0, 0.0, 1.0], [Strip(c, c > 1, [picture] * 3, [40, 41, 43], [0.9, 1, 0.9]) for c in (0, 1, 2)])
    figures = channel_figures.write(tmp_path, {"slope_age_map": draw(channels, tiny.space, 0.01)["slope_age_map"]})
    channel_page.write(tmp_path / "page.html", channels, tiny.space, 0.01, figures, (strips, []))
    page = Page(tmp_path / "page.html")
    assert page.alts[:2] == ["conv1, channel 0 at -1 sd, reads 40.0", "conv1, channel 0 at unmoved, reads 41.0"]
    assert "(-1.0)" in page.text
    assert "(+2.0)" in page.text
    assert page.text.index("Control: ") > page.text.index(page.alts[5])
    assert page.text.index("Control: ") < page.text.index(page.alts[6])
    assert channels.slope_age is not None
    slopes = [row[page.heads.index("effect, years per sd")]["data-value"] for row in page.cells]
    known = sorted(channels.slope_age[~channels.slope_age.isnan()].abs().tolist(), reverse=True)
    n_moved = len(known)
    assert [abs(float(value or "nan")) for value in slopes[:n_moved]] == pytest.approx(known, abs=1e-6)
    assert set(slopes[n_moved:]) == {""}
    assert page.cells[0][page.heads.index("region")]["text"] in REGIONS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": -1}, "gallery.rows must be at least 0, got -1"),
        ({"columns": 4}, "gallery.columns must be odd and at least 3, got 4"),
        ({"k": 0.0}, "gallery.k must be positive, got 0.0"),
    ],
)
def test_impossible_galleries_are_refused(change: dict, message: str) -> None:
    with pytest.raises(AdfdError) as error:
        Gallery(**{"rows": 8, "controls": 3, "columns": 5, "k": 5.0, "face": 0, "batch_size": 1} | change)
    assert str(error.value) == message


def test_failures_are_in_the_summary(run_stage: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = "compare=adfd/data/mobilestylegan-ffhq-1024.npz"
    with pytest.raises(SystemExit):
        run_stage(*BARE, other, stage="analyze", directory="other")
    reason = "was made for generator mobilestylegan-ffhq-1024, not tiny-0"
    assert reason in capfd.readouterr().err
    summary = json.loads((tmp_path / "other" / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert reason in summary["reason"]


@pytest.mark.thorough
def test_interrupted_run_says_so(run_stage: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(channel_gallery, "make", interrupted)
    with pytest.raises(SystemExit) as exit:
        run_stage(*SMALL, stage="analyze")
    assert exit.value.code == 130
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"
    assert analysed(tmp_path / "run").n_samples == 60


@pytest.mark.thorough
def test_wandb_gets_numbers_pictures_and_the_table(run_stage: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = run_stage(*SMALL, "logger=both", "logger.mode=offline", stage="analyze")
    (file,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    found = records(file)
    (head,) = [record.run for record in found if record.HasField("run")]
    assert head.job_type == "correlation"
    assert items(head.config.update)["analysis"]["n_samples"] == 60
    logged: dict = {}
    summary: dict = {}
    for record in found:
        if record.HasField("history"):
            logged |= items(record.history.item)
        if record.HasField("summary"):
            summary |= items(record.summary.update)
    for name in ("figures/coef_age_map", "figures/coef_age_histogram", "sheets"):
        assert any(key.startswith(name) for key in logged), name
    kept = file.parent / "files" / logged["animations/gif.path"]
    assert kept.read_bytes() == (run / "traversal.gif").read_bytes()
    assert logged["results.nrows"] == 50
    on_disk = json.loads((run / "summary.json").read_text())
    for key in ("stability_age", "significant_age", "status"):
        assert summary[key] == pytest.approx(on_disk[key]) if key != "status" else summary[key] == "finished"


@pytest.mark.thorough
def test_sweep_ends_with_its_convergence(run_stage: Run, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = run_stage("-m", *BARE[1:], "analysis.n_samples=100,300", "seed=0,1", stage="analyze")
    table = lines(sweep / "convergence.csv")
    assert [(line["analysis.n_samples"], line["seeds"]) for line in table] == [("100.0", "2"), ("300.0", "2")]
    for line, jobs in zip(table, (("0", "1"), ("2", "3")), strict=True):
        a, b = (analysed(sweep / job) for job in jobs)
        assert a.n_samples == b.n_samples == float(line["analysis.n_samples"])
        halves = [a.stability_age, b.stability_age]
        assert float(line["stability_age"]) == pytest.approx(sum(halves) / 2)  # type: ignore[arg-type]
        assert float(line["stability_age_min"]) == pytest.approx(min(halves))  # type: ignore[type-var]
        above = [int(found.significant("id", 0.01).sum()) for found in (a, b)]
        assert float(line["significant_id_max"]) == max(above)
        assert float(line["agreement_age"]) == pytest.approx(spearmanr(a.coef_age, b.coef_age).statistic)
    printed = capsys.readouterr().out.rstrip().splitlines()
    shown = printed.index(f"table: {sweep / 'convergence.csv'}")
    assert printed[shown + 1] == f"plot: {sweep / 'convergence.svg'}"
    assert Image.open(sweep / "convergence.png").width > 1000


@pytest.mark.thorough
def test_failed_jobs_are_named_and_the_rest_compared(run_stage: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        run_stage("-m", *BARE, "analysis.psi=0.5,0.9,2", stage="analyze", directory="s")
    assert exit.value.code == 1
    captured = capsys.readouterr()
    assert "job 2 failed: analysis.psi must lie in 0..1 and above 0, got 2.0" in captured.err
    path = re.search(r"table: (.*)", captured.out)
    assert path
    table = lines(Path(path[1]))
    assert [line["analysis.psi"] for line in table] == ["0.5", "0.9"]
    assert "agreement_age" not in table[0]


def test_the_number_with_the_most_values_is_the_one_varied(tmp_path: Path, tiny: Networks) -> None:
    assert tiny.channels is not None
    jobs = []
    for number, (k, n, kind) in enumerate([(1, 10, "a"), (2, 10, "a"), (3, 10, "a"), (1, 20, "b")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        tiny.channels.save(folder / "channels.npz")
        overrides = [f"analysis.k={k}", f"analysis.n_faces={n}", f"analysis.select={kind}", "seed=0"]
        summary = {"status": "finished", "generator": "tiny-0", "stability_age": 0.5, "significant_age": 7 * k}
        jobs.append({"job": folder.name, "overrides": overrides, **summary})
    points = convergence.compare(tmp_path, jobs)
    assert {point.key for point in points} == {"analysis.k"}
    assert [(point.others, point.value) for point in points] == [
        ("analysis.n_faces=10 analysis.select=a", 1),
        ("analysis.n_faces=10 analysis.select=a", 2),
        ("analysis.n_faces=10 analysis.select=a", 3),
        ("analysis.n_faces=20 analysis.select=b", 1),
    ]
    figure = convergence.draw(points)
    assert len(figure.axes) == 4
    (line,) = figure.axes[1].lines[:1]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2, 3], [7, 14, 21])  # type: ignore[arg-type]
