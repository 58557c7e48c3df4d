"""A lab from its solution: solutions become stubs, explanations go, and the cells carry nbgrader's metadata.

What makes a solution notebook:

- a heading ``### 07.3 · A title (2 points, 8 minutes)`` opens an exercise;
- cells with ``# BEGIN SOLUTION`` and ``# END SOLUTION`` are where a learner writes;
- ``check("07.3", answer)`` as the last line of a cell judges it;
- cells tagged ``solution-only`` (why the answer is right, why the usual wrong ones are not) stay out of the lab.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import nbformat
from nbformat import NotebookNode

from workbook.authoring.cells import tags

BEGIN, END = "BEGIN SOLUTION", "END SOLUTION"
STUB = "pass  # your answer"
"""What stands in the place of a solution: runs without an error, in a function and outside of one."""
SOLUTION_ONLY = "solution-only"
TELLING = 16

_HEADING = re.compile(r"^### (\d\d)\.(\d+) · (.+) \((\d+) points?, (\d+) minutes?\)$", re.MULTILINE)
_CHECK = re.compile(r"^check\(\"(\d\d)\.(\d+)\"[,)]", re.MULTILINE)


class LabError(Exception):
    """A solution that no lab can be made from; the message names the cell and what to mend."""


@dataclass(frozen=True)
class Heading:
    """What an exercise's heading says."""

    id: str
    title: str
    points: int
    minutes: int


def headings(notebook: NotebookNode) -> list[Heading]:
    """Return the exercises that a lab or solution announces, in order."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return [Heading(f"{lab}.{n}", title, int(p), int(m)) for lab, n, title, p, m in _HEADING.findall(text)]


def mark_for_grading(notebook: NotebookNode) -> NotebookNode:
    """Give the cells of a solution nbgrader's metadata (version 3), in place, and return it.

    Cells to write in are solution cells, cells that check are locked and graded with the points of their heading.

    Raises:
        LabError: a region without an end, a check without a heading, an answer outside of an exercise.
    """
    points = {heading.id: heading.points for heading in headings(notebook)}
    current, answers = None, 0
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "markdown":
            found = _HEADING.findall(cell.source)
            if found:
                current, answers = f"{found[-1][0]}.{found[-1][1]}", 0
            continue
        checks = _CHECK.findall(cell.source)
        if BEGIN in cell.source:
            if checks:
                raise LabError(f"cell {number} holds an answer and a check: give each a cell of its own")
            if current is None:
                raise LabError(f"cell {number} holds an answer, but no heading of an exercise stands above it")
            answers += 1
            suffix = f"-{answers}" if answers > 1 else ""
            cell.metadata["nbgrader"] = _grading(f"answer-{_slug(current)}{suffix}", solution=True)
            cell.metadata["deletable"] = False
        elif checks:
            if len(checks) > 1:
                raise LabError(f"cell {number} checks {len(checks)} exercises: one a cell, its value is the points")
            id = ".".join(checks[0])
            if id not in points:
                raise LabError(f"cell {number} checks {id}, which no heading announces")
            cell.metadata["nbgrader"] = _grading(f"check-{_slug(id)}", points=points[id])
            cell.metadata["deletable"] = cell.metadata["editable"] = False
    return notebook


def _slug(exercise_id: str) -> str:
    return exercise_id.replace(".", "-")


def _grading(grade_id: str, *, solution: bool = False, points: int | None = None) -> NotebookNode:
    grade = {"grade": not solution, "grade_id": grade_id, "locked": not solution, "schema_version": 3}
    grade |= {"solution": solution, "task": False, "cell_type": "code"}
    return nbformat.from_dict(grade if points is None else grade | {"points": points})


def make_lab(solution: NotebookNode) -> NotebookNode:
    """Return the lab of a solution: unexecuted, its answers replaced by `STUB`, cells for the solution alone left out.

    Args:
        solution: as `workbook.authoring.pairing.read_source` reads it, marked by `mark_for_grading`.

    Raises:
        LabError: a region is not closed, or closed without having been opened.
    """
    lab = nbformat.from_dict({**solution, "cells": []})
    for number, cell in enumerate(solution.cells, start=1):
        if SOLUTION_ONLY in tags(cell):
            continue
        copy = nbformat.from_dict({**cell, "metadata": dict(cell.metadata)})
        if copy.cell_type == "code":
            copy.source = _without_solutions(cell.source, number)
            copy.outputs, copy.execution_count = [], None
        lab.cells.append(copy)
    return lab


def _without_solutions(source: str, number: int) -> str:
    kept, inside = [], False
    for line in source.split("\n"):
        if BEGIN in line:
            if inside:
                raise LabError(f"cell {number}: a second {BEGIN} before the first has ended")
            inside = True
            kept.append(line[: len(line) - len(line.lstrip())] + STUB)
        elif END in line:
            if not inside:
                raise LabError(f"cell {number}: {END} without {BEGIN}")
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise LabError(f"cell {number}: {BEGIN} without {END}")
    return "\n".join(kept)


def solution_lines(solution: NotebookNode) -> Iterator[str]:
    """Yield every line that must not stand in the lab: those of answers, and those of cells for the solution alone."""
    for cell in solution.cells:
        if SOLUTION_ONLY in tags(cell):
            yield from filter(None, map(str.strip, cell.source.split("\n")))
            continue
        inside = False
        for line in cell.source.split("\n"):
            if END in line:
                inside = False
            if inside and line.strip():
                yield line.strip()
            if BEGIN in line:
                inside = True


def leaks(solution: NotebookNode, lab: NotebookNode) -> list[str]:
    """Return the lines of solutions that a lab shows anywhere; lines below `TELLING` characters say too little."""
    shown = "\n".join(cell.source for cell in lab.cells)
    return [line for line in solution_lines(solution) if len(line) >= TELLING and line in shown]
