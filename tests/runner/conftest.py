"""Toy notebooks: a few lines each, no framework, so that a run takes the time of a kernel's start."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

PARAMETERS = """\
profile = "quick"  # type: str
seed = 0  # type: int
k = 1  # type: int
rate = 0.1  # type: float
ks = [1, 5]  # type: list
gpu_on_cpu = False  # type: bool"""

CLAIM_AND_RECORD = """\
from IPython.display import display
display({"text/plain": "Claim", "application/vnd.workbook.claim+json":
         {"id": "01.sum", "statement": "k and seed add up", "holds": k + seed >= 0, "in_scope": True}}, raw=True)
display({"text/plain": "Record", "application/vnd.workbook.record+json":
         {"name": "01.k", "values": [k, k + 2.0], "mean": k + 1.0, "low": k - 1.0, "high": k + 3.0,
          "confidence": 0.95, "expected": [0, 4], "unit": "", "device": "cpu"}}, raw=True)"""


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a notebook of the given cells after a parameters cell."""

    def write(name: str, *cells: str, kernel: str = "python3", parameters: str | None = PARAMETERS) -> Path:
        notebook = new_notebook(metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}})
        if parameters is not None:
            notebook.cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
        notebook.cells += [new_code_cell(source) for source in cells]
        path = tmp_path / "toys" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture
def good(toy: Callable[..., Path]) -> Path:
    """Return a notebook that leaves one claim that holds and one record."""
    return toy("01_good", CLAIM_AND_RECORD)
