"""Judges an answer: safely, within a bound of time, without touching what the learner made."""

import contextlib
import copy
import io
import linecache
import os
import random
import sys
import traceback
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from workbook.exercises.bounded import TookTooLong, bounded
from workbook.exercises.exercise import Exercise, NotAttempted, Outcome, Verdict, Wrong
from workbook.exercises.values import is_blank
from workbook.paths import ROOT

_OURS = (str(ROOT / "workbook") + os.sep, str(ROOT / "data_scripts") + os.sep)
_INSTALLED = tuple({os.path.realpath(path) + os.sep for path in (sys.prefix, sys.base_prefix)})


def judge(exercise: Exercise, answers: tuple[Any, ...], *, seed: int | None = None) -> Verdict:
    """Return the verdict on an answer.

    The checker gets copies (functions excepted, which cannot be changed by calling them), fresh random inputs and a
    bound of time. Global random numbers are afterwards where they were, and nothing is written to stderr.

    Args:
        exercise: with its checker.
        answers: what the learner handed over, usually one object.
        seed: of the checker's random inputs; fresh ones unless given.
    """
    if not answers or any(is_blank(answer) for answer in answers):
        return _verdict(exercise, Outcome.NOT_ATTEMPTED, "")
    try:
        with _undisturbed(), bounded(exercise.seconds):
            note = exercise.checker(np.random.default_rng(seed), *map(_copied, answers))
    except NotAttempted:
        return _verdict(exercise, Outcome.NOT_ATTEMPTED, "")
    except Wrong as wrong:
        return _verdict(exercise, Outcome.WRONG, str(wrong), wrong.share)
    except TookTooLong:
        message = (
            f"it was still running after {exercise.seconds:g} seconds and was stopped: is there a loop without end?"
        )
        return _verdict(exercise, Outcome.WRONG, message)
    except Exception as error:
        lines = _learners_lines(error, exercise.checker.__code__)
        if lines:
            return _verdict(exercise, Outcome.ERROR, f"{type(error).__name__}: {error}\n" + "\n".join(lines))
        # Nothing of the learner's was running: the answer is of a kind that the checker cannot take.
        return _verdict(
            exercise, Outcome.WRONG, f"expected {exercise.expects}; this could not be used as one ({error})"
        )
    return _verdict(exercise, Outcome.CORRECT, note, 1.0)


def _verdict(exercise: Exercise, outcome: Outcome, message: str, share: float = 0.0) -> Verdict:
    return Verdict(outcome, message, share * exercise.points, float(exercise.points))


def _copied(answer: Any) -> Any:
    if isinstance(answer, types.FunctionType | types.BuiltinFunctionType | type):
        return answer
    try:
        return copy.deepcopy(answer)
    # What cannot be copied (a generator, an open file) is judged as it is.
    except Exception:
        return answer


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    torchs = torch.get_rng_state() if torch else None
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if torch:
            torch.set_rng_state(torchs)


def _learners_lines(error: BaseException, checker: types.CodeType) -> list[str]:
    """Return the lines of the learner's own code that an exception passed through, none of the course or libraries."""
    lines = []
    for frame, number in traceback.walk_tb(error.__traceback__):
        code, path = frame.f_code, os.path.realpath(frame.f_code.co_filename)
        if (
            code in (checker, judge.__code__)
            or path.startswith(_OURS + _INSTALLED)
            or code.co_filename.startswith("<frozen")
        ):
            continue
        text = linecache.getline(code.co_filename, number, frame.f_globals).strip()
        lines.append(f"  line {number} of your code" + (f": {text}" if text else ""))
    return lines
