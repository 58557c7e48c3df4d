"""What a lab calls: `check`, `hint` and `show_progress`."""

import html
import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from IPython.display import display

from workbook.bundles import CHECK_MIME
from workbook.exercises.exercise import Exercise, Lab, Outcome, Verdict, lab_number
from workbook.exercises.judge import judge
from workbook.exercises.progress import Progress

_SIGNS: Mapping[Outcome, str] = {
    Outcome.CORRECT: "✔",
    Outcome.WRONG: "✘",
    Outcome.ERROR: "⚠",
    Outcome.NOT_ATTEMPTED: "·",
}
_open: dict[tuple[str, Path], Progress] = {}


class Points(float):
    """The points of an answer, the value of a check cell: for nbgrader a plain number, for a learner with the most."""

    out_of: float

    def __new__(cls, points: float, out_of: float) -> "Points":
        """Take the points and how many there are."""
        new = super().__new__(cls, points)
        new.out_of = out_of
        return new

    def __getnewargs__(self) -> tuple[float, float]:
        """Let it be copied."""
        return float(self), self.out_of

    def _repr_html_(self) -> str:
        return f"<small>{self:g} of {self.out_of:g} point{'s' * (self.out_of != 1)}</small>"


def load_lab(number: str) -> Lab:
    """Return the exercises of a lab, from ``workbook/exercises/lab_NN.py``.

    Raises:
        LookupError: there is no such lab.
    """
    name = f"workbook.exercises.lab_{number}"
    if importlib.util.find_spec(name) is None:
        raise LookupError(f"there is no lab {number!r}")
    return importlib.import_module(name).LAB


def _find(exercise_id: str) -> Exercise:
    lab = load_lab(lab_number(exercise_id))
    if exercise_id not in lab.exercises:
        raise LookupError(f"there is no exercise {exercise_id!r}; lab {lab.number} has {', '.join(lab.exercises)}")
    return lab.exercises[exercise_id]


def _progress(lab: str) -> Progress:
    key = lab, Path.cwd()
    if key not in _open:
        _open[key] = Progress(lab)
    return _open[key]


def check(exercise_id: str, *answers: Any) -> Points:
    """Judge an answer, say so, keep the progress and return the points.

    Args:
        exercise_id: such as ``"07.3"``.
        answers: what the exercise asks for.

    Raises:
        LookupError: there is no such exercise.
    """
    exercise = _find(exercise_id)
    verdict = judge(exercise, answers)
    _progress(lab_number(exercise_id)).note_attempt(exercise, verdict)
    _show(exercise, verdict)
    return Points(verdict.points, verdict.out_of)


def _show(exercise: Exercise, verdict: Verdict) -> None:
    line = f"{_SIGNS[verdict.outcome]} {exercise.id} · {verdict.outcome.value}"
    if 0 < verdict.points < verdict.out_of:
        line += f", {verdict.points:g} of {verdict.out_of:g} points"
    if verdict.outcome in (Outcome.WRONG, Outcome.ERROR):
        tail = f'Stuck? hint("{exercise.id}") says a little more each time.'
    else:
        tail = ""
    text = "\n".join(filter(None, [f"{line}: {verdict.message}" if verdict.message else line, tail]))
    bundle = {"id": exercise.id, "outcome": verdict.outcome.value, "points": verdict.points, "out_of": verdict.out_of}
    shown = html.escape(text).replace("\n", "<br>")
    display({"text/plain": text, "text/html": f"<div>{shown}</div>", CHECK_MIME: bundle}, raw=True)


def hint(exercise_id: str) -> None:
    """Show the next hint of an exercise; after the last one, the last one again.

    Raises:
        LookupError: there is no such exercise.
    """
    exercise = _find(exercise_id)
    which = _progress(lab_number(exercise_id)).note_hint(exercise)
    line = f"Hint {which + 1} of {len(exercise.hints)} · {exercise.id}: {exercise.hints[which]}"
    display({"text/plain": line, "text/markdown": line}, raw=True)


def show_progress(lab: str) -> None:
    """Show the lab's own bar: which exercises are done, and the points.

    Raises:
        LookupError: there is no such lab.
    """
    exercises, progress = list(load_lab(lab)), _progress(lab)
    entries = [progress.entry(exercise.id) for exercise in exercises]
    done = sum(entry.best >= exercise.points for entry, exercise in zip(entries, exercises, strict=True))
    points, out_of = sum(entry.best for entry in entries), sum(exercise.points for exercise in exercises)
    bar = "█" * done + "░" * (len(exercises) - done)
    line = f"Lab {lab} {bar} {done} of {len(exercises)} exercises, {points:g} of {out_of} points"
    display({"text/plain": line}, raw=True)
