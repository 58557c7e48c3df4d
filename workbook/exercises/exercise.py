"""What an exercise is, what can be said of an answer, and what a checker may raise."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

LEAST_HINTS, MOST_HINTS = 2, 3


class Outcome(StrEnum):
    """What became of an answer."""

    CORRECT = "correct"
    WRONG = "not yet"
    ERROR = "error"
    NOT_ATTEMPTED = "not attempted yet"


class Wrong(Exception):
    """A checker's verdict that an answer is not right.

    Args:
        reason: in a learner's words: what the answer does, not what the right one is.
        share: of the points that it is worth all the same, between 0 and 1.
    """

    def __init__(self, reason: str, share: float = 0.0):
        super().__init__(reason)
        self.share = share


class NotAttempted(Exception):
    """A checker's verdict that there is nothing to judge yet."""


@dataclass(frozen=True)
class Verdict:
    """What `workbook.exercises.judge.judge` says of an answer."""

    outcome: Outcome
    message: str
    points: float
    out_of: float


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lab.

    Attributes:
        id: chapter and number, such as ``"07.3"``.
        title: as in the lab's heading.
        minutes: that it takes a learner.
        points: whole.
        expects: what an answer is, in words: ``"a function of two arrays that returns a number"``.
        hints: two or three, each saying more than the one before.
        checker: called with a NumPy random generator and the answers; raises `Wrong`, or returns what a learner who
            was right should notice.
        seconds: that judging may take before it is stopped.
    """

    id: str
    title: str
    minutes: int
    points: int
    expects: str
    hints: tuple[str, ...]
    checker: Callable[..., str]
    seconds: float = 10.0


@dataclass
class Lab:
    """The exercises of one chapter, in order.

    Args:
        number: of the chapter, two digits.
    """

    number: str
    exercises: dict[str, Exercise] = field(default_factory=dict)

    def exercise(
        self,
        id: str,
        title: str,
        *,
        minutes: int,
        points: int,
        expects: str,
        hints: Sequence[str],
        seconds: float = 10.0,
    ) -> Callable:
        """Return a decorator that makes a checker an exercise of this lab (arguments: see `Exercise`).

        Raises:
            ValueError: the id is of another lab, not the next one, or there are not two or three hints.
        """
        following = f"{self.number}.{len(self.exercises) + 1}"
        if id != following:
            raise ValueError(f"exercise {id!r}: expected {following!r}, the next one of lab {self.number}")
        if not LEAST_HINTS <= len(hints) <= MOST_HINTS:
            raise ValueError(f"exercise {id}: {len(hints)} hints, expected two or three")

        def register(checker: Callable[..., str]) -> Callable[..., str]:
            self.exercises[id] = Exercise(id, title, minutes, points, expects, tuple(hints), checker, seconds)
            return checker

        return register

    def __iter__(self) -> Iterator[Exercise]:
        """Yield the exercises in order."""
        return iter(self.exercises.values())


def lab_number(exercise_id: str) -> str:
    """Return the lab of an exercise: ``"07"`` for ``"07.3"``.

    Raises:
        ValueError: the text is no exercise's id.
    """
    if not re.fullmatch(r"\d\d\.\d+", exercise_id):
        raise ValueError(f"{exercise_id!r} is no exercise: expected chapter and number, such as '07.3'")
    return exercise_id[:2]
