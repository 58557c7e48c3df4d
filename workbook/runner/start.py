"""Puts a run together: what was asked for, its jobs, its folder, its display."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from workbook.paths import RUNS
from workbook.runner.errors import JobError
from workbook.runner.executor import LocalExecutor, core_count
from workbook.runner.folders import point_latest, prepare_folder
from workbook.runner.jobfile import JobFile, read_job_file
from workbook.runner.jobs import Request, plan_jobs, read_overrides
from workbook.runner.notebooks import list_notebooks
from workbook.runner.progress import choose_progress
from workbook.runner.routing import lessons_for, route
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
    asked = read_job_file(job_file) if job_file else JobFile(None, [Request(name) for name in notebooks])
    overrides, _ = read_overrides(assignments, profile)  # planning says what is wrong with them
    known = list_notebooks()
    if notebooks or job_file:
        requests, said = route(asked.requests, overrides, known)
    else:
        offering = lessons_for(overrides.get("profile"), known)
        left = len(known) - len(offering)
        requests = [Request(str(path)) for path in offering]
        said = [f"{left} lessons do not offer the profile {overrides['profile']!r} and are left out."] if left else []
    jobs = plan_jobs(requests, assignments, profile)
    workers = min(len(jobs), workers or core_count())
    folder = prepare_folder(asked.name, out, runs)
    point_latest(folder, runs)

    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    for line in said:
        console.print(line, soft_wrap=True)
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
