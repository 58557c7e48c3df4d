"""Runs a list of jobs to its end, or to Ctrl-C, and leaves folder, table and report in order."""

import contextlib
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from workbook.runner.execution import execute_job, executed_notebook, unfinished_notebook
from workbook.runner.jobs import Job
from workbook.runner.journal import Journal
from workbook.runner.progress import Progress
from workbook.runner.report import write_report
from workbook.runner.results import Failure, Result

_TICK = 0.25  # seconds between two looks at the jobs, at the clock and for Ctrl-C


@dataclass(frozen=True)
class Outcome:
    """How a run ended: a result for every job, in order, and whether Ctrl-C ended it."""

    results: list[Result]
    interrupted: bool
    report: Path

    @property
    def exit_status(self) -> int:
        """130 after Ctrl-C; 1 when a notebook failed or a claim in scope does not hold; otherwise 0."""
        if self.interrupted:
            return 130
        return 0 if all(result.succeeded for result in self.results) else 1


def run_jobs(
    jobs: Sequence[Job],
    folder: Path,
    *,
    executor: Executor,
    workers: int,
    progress: Progress,
    timeout: int | None = None,
) -> Outcome:
    """Run every job, at most ``workers`` at once, and shut ``executor`` down.

    ``results.csv`` in ``folder`` is whole after each job. ``timeout`` is the longest for one cell, in seconds.
    """
    started = datetime.now().astimezone()
    journal = Journal(folder, jobs)
    with _interrupt() as interrupted:
        try:
            _work(jobs, folder, executor, workers, timeout, journal, progress, interrupted)
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
        for job in jobs:
            if job.id not in journal.results:
                unfinished_notebook(folder, job.id).unlink(missing_ok=True)
                journal.add(Result(job.id, "cancelled"))
        report = write_report(folder, jobs, journal.in_order(), started)
    return Outcome(journal.in_order(), interrupted.is_set(), report)


def _work(
    jobs: Sequence[Job],
    folder: Path,
    executor: Executor,
    workers: int,
    timeout: int | None,
    journal: Journal,
    progress: Progress,
    interrupted: threading.Event,
) -> None:
    waiting = deque(jobs)
    running: dict[Future, Job] = {}
    with progress:
        while (waiting or running) and not interrupted.is_set():
            while waiting and len(running) < workers:  # submitted when it can start, so that its clock is right
                job = waiting.popleft()
                running[executor.submit(execute_job, job, folder, timeout)] = job
                progress.started(job.id)
            finished, _ = wait(running, timeout=_TICK, return_when=FIRST_COMPLETED)
            for future in finished:
                result = _result(running.pop(future), future, folder)
                journal.add(result)
                progress.finished(result)
            progress.tick()


def _result(job: Job, future: Future, folder: Path) -> Result:
    error = future.exception()
    if error is None:
        return future.result()
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, BrokenProcessPool):
        message = "the process that ran the notebook died, probably for want of memory: run with --workers 1"
    with contextlib.suppress(FileNotFoundError):  # what it had executed by then
        unfinished_notebook(folder, job.id).replace(executed_notebook(folder, job.id))
    return Result(job.id, "failed", failure=Failure(message))


@contextlib.contextmanager
def _interrupt() -> Iterator[threading.Event]:
    """Turn Ctrl-C into an event, so that no step is left half done; a second Ctrl-C changes nothing."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGINT, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
