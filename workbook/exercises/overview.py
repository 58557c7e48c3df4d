"""Tables of progress: one learner's, and a class's from the labs that it returned."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nbformat

from workbook.authoring.labs import headings
from workbook.bundles import read_checks
from workbook.exercises.exercise import Outcome
from workbook.exercises.progress import FOLDER, MY_LABS
from workbook.paths import LABS


@dataclass(frozen=True)
class LabRow:
    """One lab in a learner's table: exercises and how many are done, points and how many there are, hints asked for."""

    lab: str
    exercises: int
    done: int
    points: float
    out_of: int
    hints: int
    started: bool


def my_progress(labs: Path = LABS, desk: Path = MY_LABS) -> list[LabRow]:
    """Return a row for every lab, from the files of progress on the desk; a file that cannot be read counts as none."""
    rows = []
    for path in sorted(labs.glob("*.ipynb")):
        announced = headings(nbformat.read(path, as_version=nbformat.NO_CONVERT))
        kept = _entries(desk / FOLDER / f"{path.stem.split('_')[0]}.json")
        best = {one.id: min(kept.get(one.id, {}).get("best", 0.0), one.points) for one in announced}
        rows.append(
            LabRow(
                path.stem,
                len(announced),
                sum(best[one.id] >= one.points for one in announced),
                sum(best.values()),
                sum(one.points for one in announced),
                sum(entry.get("hints", 0) for entry in kept.values()),
                (desk / path.name).is_file(),
            )
        )
    return rows


def _entries(path: Path) -> Mapping[str, dict]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Returned:
    """A returned lab: whose, which one, and the last verdict of each exercise that was checked."""

    who: str
    lab: str
    outcomes: Mapping[str, str]
    points: float


@dataclass(frozen=True)
class ClassReport:
    """What a folder of returned labs holds: those read, and the files that could not be, with the reason."""

    returned: tuple[Returned, ...]
    unread: tuple[tuple[str, str], ...]

    def stops(self) -> dict[str, dict[str, int]]:
        """Return, for every exercise, how many have each outcome; sorted by how many are not through."""
        counts: dict[str, dict[str, int]] = {}
        for one in self.returned:
            for id, outcome in one.outcomes.items():
                row = counts.setdefault(id, dict.fromkeys(Outcome, 0))
                row[outcome] += 1
        return dict(
            sorted(counts.items(), key=lambda item: (item[1][Outcome.CORRECT] - sum(item[1].values()), item[0]))
        )


def class_report(folder: Path, labs: Path = LABS) -> ClassReport:
    """Read a folder of returned labs, ``<who>/…/<lab>.ipynb`` or ``<who>_<lab>.ipynb``; backups are left out.

    Args:
        folder: searched with everything below it.
        labs: the labs that can be returned.

    Raises:
        FileNotFoundError: there is no such folder, or no lab in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is no folder; expected one with returned labs, such as {folder}/ann/07_….ipynb"
        )
    known = {path.stem: headings(nbformat.read(path, as_version=nbformat.NO_CONVERT)) for path in labs.glob("*.ipynb")}
    returned, unread = [], []
    for path in sorted(folder.rglob("*.ipynb")):
        inside = path.relative_to(folder)
        if ".backup" in path.name or any(part.startswith(".") for part in inside.parts):
            continue
        lab = next((stem for stem in known if path.stem == stem or path.stem.endswith(f"_{stem}")), None)
        if lab is None:
            unread.append((str(inside), "its name is no lab's"))
            continue
        who = path.stem.removesuffix(lab).rstrip("_") or (inside.parts[0] if len(inside.parts) > 1 else "?")
        try:
            checks = read_checks(nbformat.read(path, as_version=4))
            last = {one["id"]: one for one in checks}
        except Exception as error:  # nbformat raises a different one for each way of not being a notebook
            unread.append((str(inside), f"cannot be read as a notebook ({type(error).__name__})"))
            continue
        outcomes = {one.id: str(last.get(one.id, {}).get("outcome", Outcome.NOT_ATTEMPTED)) for one in known[lab]}
        points = sum(float(one.get("points", 0)) for id, one in last.items() if id in outcomes)
        returned.append(Returned(who, lab, outcomes, points))
    if not returned and not unread:
        raise FileNotFoundError(f"{folder} holds no notebook; expected returned labs, such as {folder}/ann/07_….ipynb")
    return ClassReport(tuple(returned), tuple(unread))
