"""Checks of what stands in the cells of a notebook, executed or not."""

import ast
import re
from collections.abc import Iterator

from nbformat import NotebookNode
from papermill.translators import PythonTranslator

from workbook.authoring.cells import code_cells, tags
from workbook.authoring.comparison import EXCUSING_TAGS, is_excused

MAX_CELL_LINES = 30

_UPDATING = re.compile(r"\b(clear_output|update_display|display_id)\b")


def parameters(notebook: NotebookNode) -> Iterator[str]:
    """The first code cell, and only it, is tagged parameters and holds literals that papermill can read."""
    cells = list(code_cells(notebook))
    if not cells or "parameters" not in tags(cells[0][1]):
        yield "the first code cell is not tagged parameters"
        return
    for where, cell in cells[1:]:
        if "parameters" in tags(cell):
            yield f"{where} is tagged parameters; only the first code cell may be"
    where, cell = cells[0]
    try:
        statements = ast.parse(cell.source).body
    except SyntaxError as error:
        yield f"{where} does not parse: {error.msg}"
        return
    # papermill decides what a parameter is; a line that it skips (two '=' for one) could never be set.
    declared = {parameter.name: parameter.inferred_type_name for parameter in PythonTranslator.inspect(cell)}
    for statement in statements:
        yield from (f"{where}: {message}" for message in _parameter(statement, declared))


def _parameter(statement: ast.stmt, declared: dict[str, str]) -> Iterator[str]:
    text = ast.unparse(statement)
    if not (isinstance(statement, ast.Assign) and [type(target) for target in statement.targets] == [ast.Name]):
        yield f"`{text}` is not of the form `name = literal  # type: …`"
        return
    try:
        value = ast.literal_eval(statement.value)
    except ValueError:
        yield f"`{text}` is not a plain literal; derive values in the next cell"
        return
    name = statement.targets[0].id
    if name not in declared:
        yield f"papermill cannot read `{text}`; write it on one line with a single '='"
    elif declared[name] == "None":
        yield f"`{text}` has no type comment; add `# type: {type(value).__name__}`"
    elif value is not None and not _is_of_type(value, declared[name]):
        yield f"`{text}` is a {type(value).__name__}, but its type comment says {declared[name]}"


def _is_of_type(value: object, declared: str) -> bool:
    base = declared.split("[")[0].lower()
    return type(value).__name__ == base or (base == "float" and type(value) is int)


def long_cells(notebook: NotebookNode) -> Iterator[str]:
    """A code cell that does not fit on a screen holds more than one idea."""
    for where, cell in code_cells(notebook):
        lines = len(cell.source.splitlines())
        if lines > MAX_CELL_LINES:
            yield f"{where} has {lines} lines; at most {MAX_CELL_LINES} are allowed"


def tags_of_gpu_cells(notebook: NotebookNode) -> Iterator[str]:
    """A GPU host prints something else than a laptop, so the outputs of GPU cells are not compared."""
    for where, cell in code_cells(notebook):
        if "gpu" in tags(cell) and "nbval-ignore-output" not in tags(cell):
            yield f"{where} is tagged gpu but not nbval-ignore-output"


def holes_in_the_net(notebook: NotebookNode) -> Iterator[str]:
    """Every cell outside GPU sections is compared; none is expected to fail (papermill would exit 1)."""
    for where, cell in code_cells(notebook):
        if "gpu" not in tags(cell) and is_excused(cell):
            yield f"{where} is kept from nbval ({', '.join(sorted(EXCUSING_TAGS))}); only gpu cells may be"
        if "raises-exception" in tags(cell) or "NBVAL_RAISES_EXCEPTION" in cell.source:
            yield f"{where} is marked raises-exception; show an expected error with try/except"


def updating_displays(notebook: NotebookNode) -> Iterator[str]:
    """Cleared and updated outputs look different in nbval, papermill and a browser."""
    for where, cell in code_cells(notebook):
        for word in sorted(set(_UPDATING.findall(cell.source))):
            yield f"{where} uses {word}; display each result once instead"
