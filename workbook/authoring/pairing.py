"""Pairs of a notebook and its text: where they stand, how the text is read, and whether the two agree."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from workbook.authoring.labs import LabError, mark_for_grading
from workbook.paths import ROOT

FOLDERS = ("chapters", "solutions")
HEADER = """\
# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
"""
# All that a notebook says about itself. The patch version of the Python that built it and the like would
# change with the author's machine, and nothing reads them.
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "pygments_lexer": "ipython3",
    },
}


class PairingError(Exception):
    """A text that cannot be read as a notebook, or a name that fits no pair."""


@dataclass(frozen=True)
class Pair:
    """A notebook (``chapters/01_topic.ipynb``) and its text (``chapters/source/01_topic.py``)."""

    source: Path
    notebook: Path

    @property
    def name(self) -> str:
        """The notebook's folder and file name, as messages show it."""
        return f"{self.notebook.parent.name}/{self.notebook.name}"

    @property
    def lab(self) -> Path | None:
        """The lab that is made of this pair; None for a chapter's."""
        folder = self.notebook.parent
        return folder.parent / "labs" / self.notebook.name if folder.name == "solutions" else None


def find_pairs(root: Path = ROOT) -> list[Pair]:
    """Return a pair for every text and every notebook under ``root``, sorted; either half may be missing."""
    pairs = set()
    for folder in (root / name for name in FOLDERS):
        pairs |= {Pair(path, folder / f"{path.stem}.ipynb") for path in folder.glob("source/*.py")}
        pairs |= {Pair(folder / "source" / f"{path.stem}.py", path) for path in folder.glob("*.ipynb")}
    return sorted(pairs, key=lambda pair: pair.notebook)


def select_pairs(pairs: list[Pair], names: Iterable[str]) -> list[Pair]:
    """Return the pairs meant by ``names``, in the order of ``pairs``; all of them if there are no names.

    A name is a stem (``01_concepts``), its number (``1``, ``04b``) or a path to the notebook or its text,
    with or without its folder. Raises `PairingError` for the names that fit nothing.
    """
    wanted = list(names)
    if not wanted:
        return list(pairs)
    fitting = {name: [pair for pair in pairs if _fits(pair, Path(name))] for name in wanted}
    unknown = [name for name, found in fitting.items() if not found]
    if unknown:
        known = ", ".join(pair.name for pair in pairs) or "none yet"
        raise PairingError(f"no notebook or text named {', '.join(map(repr, unknown))}; there are: {known}")
    chosen = {pair for found in fitting.values() for pair in found}
    return [pair for pair in pairs if pair in chosen]


def _fits(pair: Pair, name: Path) -> bool:
    number = pair.notebook.stem.split("_")[0]
    if name.stem not in (pair.notebook.stem, number, number.lstrip("0")) or name.suffix not in ("", ".py", ".ipynb"):
        return False
    given = [part for part in name.absolute().parent.parts if part != "source"]
    return len(name.parts) == 1 or given[-1] == pair.notebook.parent.name


def read_source(path: Path) -> NotebookNode:
    """Read a percent text as an unexecuted notebook with stable cell ids and canonical metadata.

    A solution's cells also get nbgrader's metadata. Raises `PairingError` if the file is missing, its header names
    another format or kernel, or no lab can be made of a solution.
    """
    if not path.is_file():
        raise PairingError(f"{path.name}: this text does not exist; a notebook is built from its text in source/")
    read = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    form = read.metadata.get("jupytext", {}).get("text_representation", {}).get("format_name")
    kernel = read.metadata.get("kernelspec", {}).get("name")
    if (form, kernel) != ("percent", "python3"):
        raise PairingError(
            f"{path.name}: the header must say format percent and kernel python3, got {form} and {kernel}; "
            f"start the file with:\n{HEADER}"
        )
    notebook = nbformat.v4.new_notebook(metadata=nbformat.from_dict(NOTEBOOK_METADATA), cells=read.cells)
    for cell, cell_id in zip(notebook.cells, _cell_ids(notebook.cells), strict=True):
        cell.id = cell_id
    if path.parent.parent.name != "solutions":
        return notebook
    try:
        return mark_for_grading(notebook)
    except LabError as error:
        raise PairingError(f"{path.name}: {error}") from error


def _cell_ids(cells: list[NotebookNode]) -> Iterator[str]:
    """Ids from content: an edit changes one id, not those of all cells after it; equal cells are numbered."""
    seen: dict[str, int] = {}
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        yield digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def disagreements(expected: NotebookNode, notebook: NotebookNode) -> list[str]:
    """Say where a notebook differs from ``expected``, the notebook that its text describes.

    Only the first differing cell is reported: after an inserted cell every later one would differ too.
    """
    found = []
    if notebook.metadata != expected.metadata:
        found.append("the notebook's metadata are not those that a build writes")
    for number, (want, got) in enumerate(zip(expected.cells, notebook.cells, strict=False), start=1):
        differing = [key for key in ("cell_type", "source", "metadata", "id") if want.get(key) != got.get(key)]
        if differing:
            key = differing[0]
            found.append(
                f"cell {number}: {key.replace('_', ' ')} differs: "
                f"the text has {_shorten(want.get(key))}, the notebook has {_shorten(got.get(key))}"
            )
            return found
    if len(expected.cells) != len(notebook.cells):
        found.append(f"the text has {len(expected.cells)} cells, the notebook has {len(notebook.cells)}")
    return found


def _shorten(value: object, limit: int = 60) -> str:
    shown = repr(dict(value)) if isinstance(value, dict) else repr(value)
    return shown if len(shown) <= limit else f"{shown[:limit]}…"
