"""Checks of the outputs that a run left in a notebook: order, noise, machine traces, enough to compare."""

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

from workbook.authoring.cells import code_cells, excerpt, texts
from workbook.authoring.comparison import compared_outputs
from workbook.paths import ROOT

MIN_COMPARED_OUTPUTS = 3

_WARNING = re.compile(r"Warning\b|\bWARNING\b")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{8,}\b")
_GENERIC_PATHS = (
    r"(?<![\w.-])/(?:home|Users)/\w+",
    r"(?<![\w.-])/root/",
    r"(?<![\w.-])/(?:private/)?tmp/",
    r"(?<![\w.-])/(?:private/)?var/folders/",
    r"\b[A-Za-z]:\\+Users\b",
    r"\bsite-packages\b",
    r"\bipykernel_\d+",
)


def execution_order(notebook: NotebookNode) -> Iterator[str]:
    """Non-empty code cells carry the counts 1, 2, 3, …: one run from top to bottom in a fresh kernel.

    nbval runs a cell with a null count but compares nothing.
    """
    for expected, (where, cell) in enumerate(code_cells(notebook), start=1):
        if cell.execution_count is None:
            yield f"{where} has no execution count: it was not run, and nbval compares nothing in it"
        elif cell.execution_count != expected:
            yield f"{where} has execution count {cell.execution_count}, expected {expected}: not run in order"


def errors_and_noise(notebook: NotebookNode) -> Iterator[str]:
    """No error, nothing on stderr, no warning text, no SVG (its generated ids differ in every run)."""
    for where, cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"{where} ended with {output.ename}: {output.evalue}"
            elif output.get("name") == "stderr":
                yield f"{where} wrote to stderr: {excerpt(output.text)}"
            elif "image/svg+xml" in output.get("data", {}):
                yield f"{where} holds an SVG picture, whose ids differ in every run; use PNG"
            else:
                for text in texts(output):
                    if match := _WARNING.search(text):
                        yield f"{where} shows a warning: {excerpt(text, match.start())}"


def machine_traces(notebook: NotebookNode) -> Iterator[str]:
    """No path of the author's machine and no memory address stands in an output."""
    paths = _machine_paths()
    for where, cell in code_cells(notebook):
        for text in (text for output in cell.outputs for text in texts(output)):
            if match := paths.search(text):
                yield f"{where} shows a machine path: {excerpt(text, match.start())}"
            if match := _ADDRESS.search(text):
                yield f"{where} shows a memory address: {excerpt(text, match.start())}"


def enough_compared(notebook: NotebookNode) -> Iterator[str]:
    """A notebook that shows too little to compare would pass nbval whatever it computed."""
    count = sum(len(compared_outputs(cell)) for cell in notebook.cells)
    if count < MIN_COMPARED_OUTPUTS:
        yield f"nbval compares {count} outputs; at least {MIN_COMPARED_OUTPUTS} are needed"


def _machine_paths() -> re.Pattern[str]:
    """Match this machine's own folders besides the usual places of any machine."""
    own = {ROOT, Path.home(), Path(tempfile.gettempdir())}
    if sys.prefix != sys.base_prefix:
        own.add(Path(sys.prefix))
    # A home of '/' (containers) would match every slash.
    literal = [rf"(?<![\w.]){re.escape(str(path))}(?!\w)" for path in sorted(own) if len(path.parts) > 1]
    return re.compile("|".join([*literal, *_GENERIC_PATHS]))
