"""The papers around the code say what the code says: licences, versions, what CI runs, what the site shows."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

import adfd
from adfd.models import fetch, sam, weights
from adfd.models.checkpoints import Checkpoint

CHECKOUT = Path(__file__).parents[1]
PYPROJECT = (CHECKOUT / "pyproject.toml").read_text()


def table(title: str) -> list[list[str]]:
    """The rows of a table of docs/licences.md."""
    text = (CHECKOUT / "docs/licences.md").read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def declared() -> set[str]:
    """All packages that pyproject.toml names as dependencies, extras included."""
    project = PYPROJECT.partition("[project]")[2].partition("[tool.")[0]
    return set(re.findall(r'"([A-Za-z][A-Za-z0-9._-]*)(?:\[\w+\])?[<>=!~]=?\d', project))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib comes with Python 3.11")
def test_declared_is_what_the_file_says() -> None:
    import tomllib

    project = tomllib.loads(PYPROJECT)["project"]
    told = [*project["dependencies"], *(item for extra in project["optional-dependencies"].values() for item in extra)]
    assert declared() == {re.match(r"[\w.-]+", item)[0] for item in told}


def test_every_package_has_a_licence() -> None:
    rows = table("Packages")
    assert {row[0] for row in rows} == declared()
    assert all(row[1] for row in rows)
    assert len(rows) == len({row[0] for row in rows})


def test_every_weight_has_terms() -> None:
    rows = table("Weights")
    told = {row[1] for row in rows}
    known = {f"{package.distribution} {package.version}" for package in weights.PACKAGES}
    known |= {f"{package.name} {package.version}" for package in fetch.PACKAGES}
    checkpoints = {value.file for value in vars(sam).values() if isinstance(value, Checkpoint)}
    assert checkpoints
    assert told == known | checkpoints
    assert all(all(row) for row in rows)
    for package in fetch.PACKAGES:
        (row,) = (row for row in rows if row[1] == f"{package.name} {package.version}")
        assert package.licence in row[2]


def test_versions_agree() -> None:
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text())
    changes = (CHECKOUT / "CHANGELOG.md").read_text()
    assert citation["version"] == adfd.__version__
    assert re.search(r"^## \[(\S+)\]", changes, re.MULTILINE)[1] == adfd.__version__
    assert citation["preferred-citation"]["title"] in (CHECKOUT / "README.md").read_text()


def test_ci_runs_what_the_makefile_has_on_every_python() -> None:
    jobs = yaml.safe_load((CHECKOUT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13", "3.14"]
    makefile = (CHECKOUT / "Makefile").read_text()
    run = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {"make lint", "make test", "make docs"} <= set(run)
    for command in run:
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.MULTILINE)


def test_the_site_shows_every_page() -> None:
    site = yaml.safe_load((CHECKOUT / "mkdocs.yml").read_text())
    parts = [[entry] if isinstance(entry, str) else next(iter(entry.values())) for entry in site["nav"]]
    assert {page for part in parts for page in part} == {page.name for page in (CHECKOUT / "docs").glob("*.md")}
    for module in re.findall(r"^::: (\S+)", (CHECKOUT / "docs/api.md").read_text(), re.MULTILINE):
        assert (CHECKOUT / module.replace(".", "/")).with_suffix(".py").exists()
