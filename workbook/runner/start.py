"""Puts a run together: what was asked for, its jobs, its folder, its display."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from workbook.paths import RUNS
from workbook.runner.errors import JobError
from workbook.runner.executor import LocalExecutor, core_count
from workbook.runner.folders import point_latest, prepare_folder
from workbook.runner.jobfile import JobFile, read_job_file
from workbook.runner.jobs import Request, plan_jobs
from workbook.runner.notebooks import list_notebooks
from workbook.runner.progress import choose_progress
from workbook.runner.session import run_jobs
from workbook.runner.summary import print_summary


def start_run(
    notebooks: Sequence[str] = (),
    *,
    assignments: Sequence[str] = (),
    profile: str | None = None,
    workers: int | None = None,
    out: Path | None = None,
    job_file: Path | None = None,
    timeout: int | None = None,
    runs: Path = RUNS,
) -> int:
    """Run what was asked for, print how it went and return the exit status (0, 1 or 130).

    Without notebooks and job file every chapter runs. ``workers`` is by default the number of cores, ``out`` a
    folder of ``runs`` named by date and time. Raises `JobError` with every mistake before anything runs.
    """
    if notebooks and job_file:
        raise JobError(["give either notebooks or --jobs: a job file names its own notebooks"])
    if job_file:
        asked = read_job_file(job_file)
    else:
        asked = JobFile(None, [Request(name) for name in notebooks or map(str, list_notebooks())])
    jobs = plan_jobs(asked.requests, assignments, profile)
    workers = min(len(jobs), workers or core_count())
    folder = prepare_folder(asked.name, out, runs)
    point_latest(folder, runs)

    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    outcome = run_jobs(
        jobs,
        folder,
        executor=LocalExecutor(workers),
        workers=workers,
        progress=choose_progress(len(jobs), console),
        timeout=timeout,
    )
    print_summary(outcome.results, console)
    console.print(f"Report: {_short(outcome.report)}", soft_wrap=True)
    if outcome.interrupted:
        finished = sum(result.status != "cancelled" for result in outcome.results)
        console.print(f"Interrupted: {finished} of {len(jobs)} jobs had finished and are kept in {_short(folder)}.")
    return outcome.exit_status


def _short(path: Path) -> Path:
    """Return a path as seen from the working directory where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
