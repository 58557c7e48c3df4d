"""Builds a notebook from its text: read, check, execute, check again, and only then replace the old one.

Where only prose has changed, `rewrite_prose` does without executing.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from workbook.authoring.execution import ExecutionError, execute
from workbook.authoring.gate import output_findings, source_findings
from workbook.authoring.labs import make_lab
from workbook.authoring.pairing import Pair, PairingError, read_source
from workbook.bundles import read_claims, read_records
from workbook.paths import ROOT


class BuildError(Exception):
    """A notebook that was not built; the message says what its author must mend."""


@dataclass(frozen=True)
class Built:
    """What a successful build produced: counts of claims and records, and wall-clock seconds."""

    claims: int
    records: int
    seconds: float


def build_pair(pair: Pair, cwd: Path = ROOT) -> Built:
    """Execute the text of ``pair`` at its default parameters and write its notebook.

    Raises `BuildError` (a failing cell, anything on stderr, any other finding of the gate); the old
    notebook then stays as it was.
    """
    start = time.perf_counter()
    try:
        notebook = read_source(pair.source)
        _refuse(source_findings(notebook, pair.name))
        executed = execute(notebook, cwd)
    except (PairingError, ExecutionError) as error:
        raise BuildError(f"{pair.name}: {error}") from error
    _refuse(output_findings(executed, pair.name))
    write_atomically(executed, pair.notebook)
    _write_lab(pair, notebook)
    return Built(len(read_claims(executed)), len(read_records(executed)), time.perf_counter() - start)


def rewrite_prose(pair: Pair) -> int:
    """Give the notebook of ``pair`` the prose of its text, without executing; return how many cells changed.

    Outputs and counts stay, because they are only kept where every code cell is the one that made them. Raises
    `BuildError` if a code cell differs or there is no notebook yet: both need a build.
    """
    try:
        notebook = read_source(pair.source)
    except PairingError as error:
        raise BuildError(f"{pair.name}: {error}") from error
    if not pair.notebook.exists():
        raise BuildError(f"{pair.name}: there is no notebook yet whose outputs could stay; build it")
    before = nbformat.read(pair.notebook, as_version=nbformat.NO_CONVERT)
    new, old = ([cell for cell in cells if cell.cell_type == "code"] for cells in (notebook.cells, before.cells))
    if [(cell.source, cell.metadata) for cell in new] != [(cell.source, cell.metadata) for cell in old]:
        raise BuildError(f"{pair.name}: code has changed since the notebook was built; build it without --prose")
    for cell, ran in zip(new, old, strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    _refuse(source_findings(notebook, pair.name) + output_findings(notebook, pair.name))
    known = {cell.id for cell in before.cells}
    write_atomically(notebook, pair.notebook)
    _write_lab(pair, notebook)
    return sum(cell.id not in known for cell in notebook.cells)


def _write_lab(pair: Pair, notebook: NotebookNode) -> None:
    if pair.lab:
        pair.lab.parent.mkdir(exist_ok=True)
        write_atomically(make_lab(notebook), pair.lab)


def write_atomically(notebook: NotebookNode, path: Path) -> None:
    """Write ``notebook`` to ``path`` so that an interruption leaves either the old file or the new one."""
    nbformat.validate(notebook)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _refuse(findings: list[str]) -> None:
    if findings:
        raise BuildError("\n".join(findings))
