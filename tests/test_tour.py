"""The notebook of docs/, cell by cell on the tiny networks."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PAGE = Path(__file__).parents[1] / "docs" / "tour.ipynb"


@pytest.mark.thorough
def test_the_tour_runs_from_a_folder_without_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PAGE.parents[1]))  # of its kernel, a process of its own
    tour = nbformat.read(PAGE, as_version=4)
    first = next(cell for cell in tour.cells if "Editor.load(" in cell.source)
    assert first.source.count('"mobile"') == 1
    first.source = first.source.replace('"mobile"', '"tiny", "hardware=cpu", "refine.max_steps=1"')
    NotebookClient(tour, resources={"metadata": {"path": str(tmp_path)}}, timeout=600).execute()
    code = [cell for cell in tour.cells if cell.cell_type == "code"]
    shown = [output for cell in code for output in cell.outputs if "text/html" in output.get("data", {})]
    assert len(shown) >= 3
    assert all("data:image/jpeg" in output["data"]["text/html"] for output in shown)
    assert (tmp_path / "kept" / "config.json").exists()


def test_the_page_shows_what_every_cell_gave() -> None:
    tour = nbformat.read(PAGE, as_version=4)
    code = [cell for cell in tour.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert "error" not in {output.output_type for output in outputs}
    assert sum("text/html" in output.get("data", {}) for output in outputs) >= 3
    assert PAGE.stat().st_size < 1_000_000
