"""What a foreign run says is shown as text everywhere: in HTML, TeX, Markdown, CSV and on the terminal."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from tests.conftest import run_in

NAMES = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>".replace("/", "\\"),
    "\\input{secret}",
    '=HYPERLINK("x")',
    "+1",
    "-1",
    "@SUM(A1)",
    "[red]bold[bold]",
    "{{ 7*7 }}",
    "| a | b |",
    "a\nb",
    "a\x1b[31mb",
    "\t=1",
]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """All files of an evaluation of a run whose every text is hostile, and what the terminal showed, as `terminal`."""
    root = tmp_path_factory.mktemp("escapes")
    said = io.StringIO()
    faces = ("data=faces", "data.seeds=[1]", "method=transform", "logger=none", "target_age=30")
    run = run_in(root, *faces)
    (row,) = map(json.loads, (run / "results.jsonl").read_text().splitlines())
    rows = []
    for name in NAMES:
        for part in ("source", "age30_anchor"):
            shutil.copy(run / f"images/seed1_{part}.png", run / f"images/{name}_{part}.png")
        rows += [row | {"photo": name}, row | {"photo": name, "output": 1, "status": "failed", "reason": name}]
    (run / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    told = json.loads((run / "config.json").read_text())
    told |= {"method": f"[red]{NAMES[0]}", "overrides": [f"{name}={name}" for name in NAMES]}
    (run / "config.json").write_text(json.dumps(told))
    summary = json.loads((run / "summary.json").read_text())
    summary |= {"reason": NAMES[2], "status": NAMES[3], "skipped_photos": {name: name for name in NAMES}}
    (run / "summary.json").write_text(json.dumps(summary))
    quick = ("independent=false", "cyclic=false", "bootstrap.n_resamples=100")
    with contextlib.redirect_stdout(said):
        run_in(root, f"runs={run}", *quick, stage="evaluate", directory="evaluation")
    texts = {path.name: path.read_text() for path in (root / "evaluation").iterdir() if path.is_file()}
    return texts | {"terminal": said.getvalue()}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_html(evaluated: dict[str, str]) -> None:
    page = Tags()
    page.feed(evaluated["report.html"])
    assert not [attributes for _, attributes in page.found for name in attributes if name.startswith("on")]
    assert all((attributes.get("src") or "data:").startswith("data:") for _, attributes in page.found)
    assert "<img src=x" not in evaluated["report.html"]
    assert "&lt;img src=x onerror=alert(1)&gt;" in evaluated["report.html"]
    assert "49" not in re.findall(r"\{\{ 7\*7 \}\}|>49<", evaluated["report.html"])


def test_the_page_forbids_what_it_does_not_need(evaluated: dict[str, str]) -> None:
    page = Tags()
    page.feed(evaluated["report.html"])
    (policy,) = [
        attributes["content"] or ""
        for tag, attributes in page.found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    assert "connect-src" not in rules
    assert "http" not in policy
    head = evaluated["report.html"].partition("</head>")[0]
    assert head.index("Content-Security-Policy") < head.index("<title>")


def test_tex(evaluated: dict[str, str]) -> None:
    text = evaluated["table.tex"]
    for line in text.splitlines():
        body = line if line.startswith("%") else re.sub(r"(?<!\\)%.*", "", line)
        assert line.startswith("%") or r"\input" not in body
    assert "\x1b" not in text


def test_markdown(evaluated: dict[str, str]) -> None:
    text = evaluated["table.md"]
    assert not re.search(r"(?<!\\)[<\[]img", text)
    assert not re.search(r"(?<!\\)<", text)
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_csv(evaluated: dict[str, str]) -> None:
    (row, *_) = csv.DictReader(evaluated["table.csv"].splitlines())
    assert not [
        value for value in (row["label"], row["directory"], row["overrides"], row["status"]) if value[:1] in "=+-@"
    ]


def test_terminal(evaluated: dict[str, str]) -> None:
    assert "\x1b[31m" not in evaluated["terminal"]
    assert "[red]<img" in evaluated["terminal"]  # the method, where markup would have vanished
