"""Builds a notebook from its text: read, check, execute, check again, and only then replace the old one."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from workbook.authoring.execution import ExecutionError, execute
from workbook.authoring.gate import output_findings, source_findings
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
    return Built(len(read_claims(executed)), len(read_records(executed)), time.perf_counter() - start)


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
