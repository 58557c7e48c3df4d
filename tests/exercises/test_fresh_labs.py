"""A lab opened fresh runs from top to bottom: quickly, without an error, every exercise 'not attempted yet'."""

import resource

import nbformat
import pytest
from nbclient import NotebookClient

from workbook.authoring.labs import headings
from workbook.bundles import read_checks
from workbook.paths import LABS

MOST_SECONDS = 15
"""Of compute for a fresh lab, the import of its framework included."""


@pytest.mark.parametrize("path", sorted(LABS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_fresh_lab_runs_and_nothing_is_attempted(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    found = [(one["id"], one["outcome"], one["points"]) for one in read_checks(notebook)]
    assert found == [(one.id, "not attempted yet", 0) for one in headings(notebook)]
    printed = [out for cell in notebook.cells for out in cell.get("outputs", []) if out.get("name") == "stderr"]
    assert not printed
    assert list(tmp_path.iterdir()) == []
    assert after.ru_utime - before.ru_utime < MOST_SECONDS
