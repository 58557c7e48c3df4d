"""A learner's progress: one plain JSON file a lab, in the folder ``progress`` beside the labs that are worked on."""

import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from workbook.exercises.exercise import Exercise, Outcome, Verdict, lab_number
from workbook.paths import ROOT

FOLDER = "progress"
MY_LABS = ROOT / "my_labs"
"""Where a learner works; git ignores it."""


@dataclass
class Entry:
    """What is known of one exercise.

    Attributes:
        outcome: of the latest attempt, an `Outcome`.
        best: the most points reached.
        out_of: the points there are.
        attempts: answers that were judged, blank ones not counted.
        hints: that were asked for.
        when: of the latest attempt, ISO format; empty before the first.
    """

    outcome: str = Outcome.NOT_ATTEMPTED.value
    best: float = 0.0
    out_of: float = 0.0
    attempts: int = 0
    hints: int = 0
    when: str = ""


class Progress:
    """The entries of one lab: in a file where a learner works, in memory only everywhere else.

    Args:
        lab: number of the lab.
        folder: where the labs are; progress is kept if it has a folder `FOLDER`, which ``python -m workbook start``
            makes. Building, testing and grading leave no trace.
    """

    def __init__(self, lab: str, folder: Path | None = None):
        place = (folder or Path.cwd()) / FOLDER
        self.path = place / f"{lab}.json" if place.is_dir() else None
        self.entries: dict[str, Entry] = _read(self.path) if self.path else {}

    def entry(self, exercise_id: str) -> Entry:
        """Return the entry of an exercise, a new one where there is none."""
        return self.entries.setdefault(exercise_id, Entry())

    def note_attempt(self, exercise: Exercise, verdict: Verdict) -> None:
        """Keep a verdict; the best points stay, whatever comes later."""
        entry = self.entry(exercise.id)
        entry.out_of = verdict.out_of
        if verdict.outcome is not Outcome.NOT_ATTEMPTED:
            entry.attempts += 1
            entry.outcome, entry.best = verdict.outcome.value, max(entry.best, verdict.points)
            entry.when = datetime.now().isoformat(timespec="seconds")
        self._write()

    def note_hint(self, exercise: Exercise) -> int:
        """Count a hint and return which one it is, from 0; the last one is given again and again."""
        entry = self.entry(exercise.id)
        which = min(entry.hints, len(exercise.hints) - 1)
        entry.hints = min(entry.hints + 1, len(exercise.hints))
        self._write()
        return which

    def _write(self) -> None:
        if self.path is None:
            return
        text = json.dumps({id: asdict(entry) for id, entry in sorted(self.entries.items())}, indent=1)
        write_whole(self.path, f"{text}\n".encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that an interruption leaves either the old one or the new one."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)


def _read(path: Path) -> dict[str, Entry]:
    """Read a file of progress; one that cannot be read is set aside under another name, never thrown away."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {id: Entry(**entry) for id, entry in found.items() if lab_number(id)}
    except (ValueError, TypeError, AttributeError):
        path.rename(path.with_name(f"{path.stem}-unreadable-{datetime.now():%Y%m%d-%H%M%S}.json"))
        return {}
