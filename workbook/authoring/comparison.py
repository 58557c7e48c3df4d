"""What nbval compares: the one place that the gate and the root conftest.py read it from."""

import re

from nbformat import NotebookNode

from workbook.authoring.cells import tags
from workbook.bundles import RECORD_MIME

# Measured digits live in these two types: they differ from run to run by design and are never compared.
EXTRA_SKIPPED_MIMES = ("text/markdown", RECORD_MIME)
# What nbval 0.11 leaves out by itself.
SKIPPED_MIMES = frozenset({*EXTRA_SKIPPED_MIMES, "image/png", "image/jpeg", "application/vnd.jupyter.widget-view+json"})

EXCUSING_TAGS = frozenset({"nbval-ignore-output", "nbval-skip"})
_EXCUSING_COMMENT = re.compile(r"^\s*#+\s*(PYTEST_VALIDATE_IGNORE_OUTPUT|NBVAL_IGNORE_OUTPUT|NBVAL_SKIP)\s*$", re.M)
_FIGURE_LABEL = re.compile(r"<Figure size [\dx]+ with \d+ Axes>")


def is_excused(cell: NotebookNode) -> bool:
    """Tell whether a tag or a comment marker keeps nbval from comparing the outputs of a code cell."""
    return bool(EXCUSING_TAGS.intersection(tags(cell)) or _EXCUSING_COMMENT.search(cell.source))


def compared_outputs(cell: NotebookNode) -> list[NotebookNode]:
    """Return the outputs of a code cell in which nbval compares something that a reader can read.

    nbval compares nothing in a cell with a null execution count or an excusing tag. The text that stands in
    for a picture (``<Figure size …>``) or names a record is compared too, but says nothing about the result,
    so such outputs are left out here.
    """
    if cell.cell_type != "code" or cell.execution_count is None or is_excused(cell):
        return []
    return [output for output in cell.outputs if _says_something(output)]


def _says_something(output: NotebookNode) -> bool:
    if output.output_type == "stream":
        return bool(output.text.strip())
    data = output.get("data", {})
    compared = set(data) - SKIPPED_MIMES
    is_label = RECORD_MIME in data or _FIGURE_LABEL.fullmatch(str(data.get("text/plain", "")).strip())
    return bool(compared - {"text/plain"} if is_label else compared)
