"""The gate: what must be true of a notebook before it is committed, in plain-language findings.

nbval proves that a second run gives the same outputs. It does not see a cell that was never run, a warning
that comes every time, or a notebook whose text was edited afterwards; the gate does, executing nothing.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from workbook.authoring.bundle_checks import claims, records
from workbook.authoring.cells import excerpt
from workbook.authoring.labs import LabError, headings, leaks, make_lab
from workbook.authoring.output_checks import (
    enough_compared,
    errors_and_noise,
    execution_order,
    machine_traces,
)
from workbook.authoring.pairing import Pair, PairingError, disagreements, find_pairs, read_source
from workbook.authoring.source_checks import (
    holes_in_the_net,
    long_cells,
    parameters,
    tags_of_gpu_cells,
    updating_displays,
)
from workbook.bundles import read_checks
from workbook.paths import ROOT

Check = Callable[[NotebookNode], Iterator[str]]
SOURCE_CHECKS: tuple[Check, ...] = (
    parameters,
    long_cells,
    tags_of_gpu_cells,
    holes_in_the_net,
    updating_displays,
)
OUTPUT_CHECKS: tuple[Check, ...] = (
    execution_order,
    errors_and_noise,
    machine_traces,
    enough_compared,
    claims,
    records,
)


def source_findings(notebook: NotebookNode, name: str) -> list[str]:
    """Check what stands in the cells, executed or not: parameters, tags, lengths, no updating displays."""
    return _run_checks(SOURCE_CHECKS, notebook, name)


def output_findings(notebook: NotebookNode, name: str) -> list[str]:
    """Check what a run left behind: order, noise, machine traces, claims, records, enough to compare."""
    return _run_checks(OUTPUT_CHECKS, notebook, name)


def pair_findings(pair: Pair) -> list[str]:
    """Check one pair: both halves exist, they agree, and the notebook passes every other check."""
    if not pair.source.is_file():
        return [f"{pair.name}: notebook without its text source/{pair.source.name}; it is built from there"]
    if not pair.notebook.is_file():
        return [f"{pair.name}: text without a notebook; run `python -m workbook build {pair.source.stem}`"]
    try:
        notebook = nbformat.read(pair.notebook, as_version=nbformat.NO_CONVERT)
    except (nbformat.reader.NotJSONError, OSError) as error:
        return [f"{pair.name}: this file cannot be read as a notebook: {excerpt(str(error))}"]
    try:
        text = read_source(pair.source)
        differing = disagreements(text, notebook)
        of_lab = lab_findings(pair, text, notebook)
    except PairingError as error:
        differing, of_lab = [str(error)], []
    build = f"run `python -m workbook build {pair.source.stem}`"
    return [
        *(f"{pair.name}: notebook and text disagree: {message}; {build}" for message in differing),
        *of_lab,
        *source_findings(notebook, pair.name),
        *output_findings(notebook, pair.name),
    ]


def lab_findings(pair: Pair, solution: NotebookNode, executed: NotebookNode) -> list[str]:
    """Check that a solution gets all points, that its lab is the one its text makes, and that it gives nothing away."""
    if pair.lab is None:
        return []
    build = f"run `python -m workbook build {pair.source.stem}`"
    if not pair.lab.is_file():
        return [f"{pair.name}: it has no lab yet; {build}"]
    try:
        expected, lab = make_lab(solution), nbformat.read(pair.lab, as_version=nbformat.NO_CONVERT)
    except LabError as error:
        return [f"{pair.name}: {error}"]
    found = [
        f"labs/{pair.lab.name} and the solution's text disagree: {m}; {build}" for m in disagreements(expected, lab)
    ]
    checks = read_checks(executed)
    announced, judged = [one.id for one in headings(solution)], [one["id"] for one in checks]
    if announced != judged:
        found.append(f"{pair.name}: its headings announce {announced}, its checks judge {judged}")
    wrong = [one["id"] for one in checks if one["points"] != one["out_of"]]
    if wrong:
        found.append(f"{pair.name}: the solution itself does not get all points for {', '.join(wrong)}")
    if any(cell.get("outputs") for cell in lab.cells):
        found.append(f"labs/{pair.lab.name} has been executed; {build}")
    return found + [
        f"labs/{pair.lab.name} shows a line of its solution: {excerpt(line)}" for line in leaks(solution, lab)
    ]


def gate(root: Path = ROOT) -> list[str]:
    """Return the findings of all pairs under ``root``; none means that everything may be committed."""
    return [finding for pair in find_pairs(root) for finding in pair_findings(pair)]


def _run_checks(checks: tuple[Check, ...], notebook: NotebookNode, name: str) -> list[str]:
    return [f"{name}: {message}" for check in checks for message in check(notebook)]
