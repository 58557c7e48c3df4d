"""The folder of a run, and ``runs/latest``."""

import contextlib
import os
from datetime import datetime
from pathlib import Path

from workbook.paths import RUNS
from workbook.runner.errors import JobError
from workbook.runner.journal import RESULTS

LATEST = "latest"


def prepare_folder(name: str | None = None, out: Path | None = None, runs: Path = RUNS) -> Path:
    """Create and return the folder of a run: ``out``, or ``runs/name``, or ``runs/`` date and time.

    It must be new or empty, so that no finished run and no source is ever written over.
    Raises `JobError` otherwise, and when it cannot be created.
    """
    folder = (out or runs / (name or _free_date(runs))).absolute()
    if folder == runs.absolute() / LATEST:
        raise JobError([f"--out {folder}: '{LATEST}' points to the latest run; give another name"])
    try:
        if folder.is_dir() and any(folder.iterdir()):
            what = "the results of another run" if (folder / RESULTS).exists() else "files"
            raise JobError([f"{folder} already holds {what}: give a new folder with --out, or remove that one"])
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError([f"{folder}: cannot be made a folder for the run ({error.strerror}); try --out"]) from error
    return folder


def _free_date(runs: Path) -> str:
    date = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    candidates = (date, *(f"{date}_{i}" for i in range(2, 1000)))
    return next(name for name in candidates if not (runs / name).exists())


def point_latest(folder: Path, runs: Path = RUNS) -> None:
    """Make ``runs/latest`` a relative link to ``folder``, in one step.

    Where links are not available (Windows without developer mode) it is a text file that holds the path.
    """
    runs.mkdir(parents=True, exist_ok=True)
    temporary = runs / f".{LATEST}.{os.getpid()}"
    target = os.path.relpath(folder, runs)
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    try:
        temporary.symlink_to(target, target_is_directory=True)
    except (OSError, NotImplementedError):
        temporary.write_text(target + "\n", encoding="utf-8")
    try:
        os.replace(temporary, runs / LATEST)
    except OSError as error:  # someone made it a real folder
        temporary.unlink()
        raise JobError([f"{runs / LATEST} is in the way of the link to the latest run: remove it"]) from error
