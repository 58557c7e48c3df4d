"""The MIME bundles that a notebook leaves behind for the tests and the runner: claims, records, verdicts of checks."""

from collections.abc import Iterator

from nbformat import NotebookNode

CLAIM_MIME = "application/vnd.workbook.claim+json"
RECORD_MIME = "application/vnd.workbook.record+json"
CHECK_MIME = "application/vnd.workbook.check+json"


def _bundles(notebook: NotebookNode, mime: str) -> Iterator[dict]:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if mime in output.get("data", {}):
                yield output["data"][mime]


def read_claims(notebook: NotebookNode) -> list[dict]:
    """Return the claims of an executed notebook in order: ``id``, ``statement``, ``holds``, ``in_scope``."""
    return list(_bundles(notebook, CLAIM_MIME))


def read_records(notebook: NotebookNode) -> list[dict]:
    """Return the records of an executed notebook in order, tables of records flattened to their rows.

    Each has ``name``, ``values``, ``mean``, ``low``, ``high``, ``confidence``, ``expected``, ``unit``, ``device``.
    """
    return [record for bundle in _bundles(notebook, RECORD_MIME) for record in bundle.get("records", [bundle])]


def read_checks(notebook: NotebookNode) -> list[dict]:
    """Return the verdicts of a lab that was worked on, in order: ``id``, ``outcome``, ``points``, ``out_of``."""
    return list(_bundles(notebook, CHECK_MIME))
