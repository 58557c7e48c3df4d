"""The folder where a learner works: labs are copied to it, never over anything; every change keeps what was there."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from workbook.exercises.progress import FOLDER, MY_LABS, write_whole
from workbook.paths import LABS, SOLUTIONS


class DeskError(Exception):
    """A lab cannot be copied, reset or caught up with; the message says why and what to do."""


def find_lab(text: str, labs: Path = LABS) -> Path:
    """Return the lab meant by ``'7'``, ``'07'`` or ``'07_domain_adaptation'``.

    Raises:
        DeskError: there is none; the message lists those there are.
    """
    known = sorted(labs.glob("*.ipynb"))
    wanted = f"{int(text):02d}" if text.isdecimal() else text.removesuffix(".ipynb")
    for path in known:
        if wanted in (path.stem, path.stem.split("_")[0]):
            return path
    names = ", ".join(path.stem for path in known)
    raise DeskError(f"there is no lab {text!r}; " + (f"there are {names}" if names else "no lab is there yet"))


def start(names: Sequence[str] = (), *, labs: Path = LABS, desk: Path = MY_LABS) -> list[tuple[Path, bool]]:
    """Copy labs to the desk and return ``(copy, whether it is new)`` for each; a copy that is there stays as it is.

    Args:
        names: of labs (see `find_lab`); all of them without.
        labs, desk: folders.

    Raises:
        DeskError: there is no such lab.
    """
    chosen = [find_lab(name, labs) for name in names] or sorted(labs.glob("*.ipynb"))
    (desk / FOLDER).mkdir(parents=True, exist_ok=True)
    done = []
    for lab in chosen:
        mine = desk / lab.name
        try:
            with mine.open("xb") as copy:  # fails where a file is: nothing is ever written over
                copy.write(lab.read_bytes())
            done.append((mine, True))
        except FileExistsError:
            done.append((mine, False))
    return done


def reset(name: str, *, labs: Path = LABS, desk: Path = MY_LABS) -> tuple[Path, Path]:
    """Put a fresh copy of a lab on the desk and return it and the dated backup of the one that was there.

    Raises:
        DeskError: there is no such lab, or it was never started.
    """
    lab = find_lab(name, labs)
    mine = _mine(lab, desk)
    kept = _backup(mine)
    write_whole(mine, lab.read_bytes())
    return mine, kept


def catch_up(exercise_id: str, *, labs: Path = LABS, solutions: Path = SOLUTIONS, desk: Path = MY_LABS) -> list[str]:
    """Fill in the exercises of a lab that come before one, and return the ids of those that were filled in.

    Only untouched cells are filled: what the learner has written stays. The file as it was is kept as a dated backup.

    Args:
        exercise_id: ``"07.4"`` fills in 07.1 to 07.3; the number after the last one fills in all.
        labs, solutions, desk: folders.

    Raises:
        DeskError: no exercise's id, no such lab or exercise, it was never started, or a notebook is missing or damaged.
    """
    parts = re.fullmatch(r"(\d\d?)\.(\d+)", exercise_id)
    if not parts:
        raise DeskError(f"{exercise_id!r} is no exercise: expected lab and number, such as 07.4")
    lab = find_lab(parts[1], labs)
    mine = _mine(lab, desk)
    untouched = _answers(_read(lab))
    last = max(int(grade_id.split("-")[2]) for grade_id in untouched)
    if not 1 <= int(parts[2]) <= last + 1:
        raise DeskError(f"lab {lab.stem} has no exercise {exercise_id}; its last is {parts[1]:0>2}.{last}")
    if not (solutions / lab.name).is_file():
        raise DeskError(
            f"there is no {solutions.name}/{lab.name} to fill in from; `git restore {solutions.name}` brings it"
        )
    solution = _answers(_read(solutions / lab.name))
    notebook = _read(mine)
    filled = []
    for grade_id, cell in _answers(notebook).items():
        number = int(grade_id.split("-")[2])
        if number >= int(parts[2]) or grade_id not in solution or grade_id not in untouched:
            continue
        if cell.source == untouched[grade_id].source:
            cell.source, cell.outputs, cell.execution_count = solution[grade_id].source, [], None
            filled.append(f"{parts[1]:0>2}.{number}")
    if filled:
        _backup(mine)
        write_whole(mine, (nbformat.writes(notebook) + "\n").encode())
    return list(dict.fromkeys(filled))


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=nbformat.NO_CONVERT)
    except Exception as error:  # nbformat raises a different one for each way of not being a notebook
        raise DeskError(f"{path.name} cannot be read as a notebook ({type(error).__name__})") from error


def _answers(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """Return the cells to write in by nbgrader's id, ``answer-07-3``."""
    graded = ((cell.metadata.get("nbgrader", {}).get("grade_id", ""), cell) for cell in notebook.cells)
    return {grade_id: cell for grade_id, cell in graded if grade_id.startswith("answer-")}


def _mine(lab: Path, desk: Path) -> Path:
    mine = desk / lab.name
    if not mine.is_file():
        number = lab.stem.split("_")[0]
        raise DeskError(f"{lab.stem} has not been started: python -m workbook start {number}")
    return mine


def _backup(path: Path) -> Path:
    """Copy a file to a new dated name beside it; never over another backup."""
    stamp, number = f"{datetime.now():%Y-%m-%d_%H-%M-%S}", 1
    while True:
        kept = path.with_name(f"{path.stem}.{stamp}{f'-{number}' if number > 1 else ''}.backup.ipynb")
        try:
            with kept.open("xb") as copy:
                copy.write(path.read_bytes())
            return kept
        except FileExistsError:
            number += 1
