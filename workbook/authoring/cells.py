"""What every check asks of a notebook: its code cells, their tags, the text in their outputs."""

import json
from collections.abc import Iterator

from nbformat import NotebookNode


def tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell, or an empty list."""
    return list(cell.metadata.get("tags", []))


def code_cells(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """Yield each non-empty code cell with the words that name it in a finding."""
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code" and cell.source.strip():
            yield f"cell {number} (`{cell.source.strip().splitlines()[0]}`)", cell


def texts(output: NotebookNode) -> list[str]:
    """Return everything of an output that is text: no pictures, whose base64 could spell anything."""
    if output.output_type == "stream":
        return [output.text]
    if output.output_type == "error":
        return list(output.traceback)
    data = {mime: value for mime, value in output.get("data", {}).items() if not mime.startswith("image/")}
    return [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in data.values()]


def excerpt(text: str, start: int = 0, width: int = 80) -> str:
    """Return the part of ``text`` around ``start``, quoted and short enough for a message."""
    line = text[max(0, start - 20) :].strip()
    return repr(line[:width] + ("…" if len(line) > width else ""))
