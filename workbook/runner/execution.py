"""Executes one job in the calling process: papermill, its notebook's fate, and what to tell when it fails."""

import contextlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from workbook.bundles import read_claims, read_records
from workbook.paths import ROOT
from workbook.runner.jobs import Job
from workbook.runner.memory import PeakMemory
from workbook.runner.results import Failure, Result

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_TRACEBACK_LINES = 20
_KERNEL_STARTS = 3


def executed_notebook(folder: Path, job_id: str) -> Path:
    """Return where a job's executed notebook stands in the folder of its run."""
    return folder / f"{job_id}.ipynb"


def unfinished_notebook(folder: Path, job_id: str) -> Path:
    """Return where papermill writes while the job runs; renamed when it ends, well or badly."""
    return folder / f".{job_id}.unfinished.ipynb"


def execute_job(job: Job, folder: Path, timeout: int | None = None) -> Result:
    """Execute a job and return its result; a notebook that fails is a result, never an exception.

    The executed notebook stands in ``folder`` afterwards, its kernel ran in the repository root, and the source
    was only read. ``timeout`` is the longest that one cell may take, in seconds.
    """
    temporary = unfinished_notebook(folder, job.id)
    logging.getLogger("papermill").addHandler(logging.NullHandler())  # what matters is in the result
    started = time.monotonic()
    failure = None
    with PeakMemory() as memory, _captured_output() as output:
        for attempt in range(1, _KERNEL_STARTS + 1):
            try:
                papermill.execute_notebook(
                    str(job.notebook),
                    str(temporary),
                    parameters=dict(job.parameters),
                    kernel_name=job.kernel,
                    execution_timeout=timeout,
                    cwd=str(ROOT),
                    progress_bar=False,
                )
            except Exception as error:
                if attempt < _KERNEL_STARTS and _died_at_start(error):
                    continue
                failure = _explain(error, temporary, timeout, output)
            break
    seconds = time.monotonic() - started
    notebook = _finish(temporary, executed_notebook(folder, job.id))
    return Result(
        job.id,
        "failed" if failure else "ok",
        seconds,
        memory.mb,
        read_claims(notebook) if notebook else [],
        read_records(notebook) if notebook else [],
        failure,
    )


@contextlib.contextmanager
def _captured_output() -> Iterator[Path]:
    """Send what this process and its kernel write to the terminal into a file, whose path is yielded.

    Native libraries write past Python, so this works on file descriptors. The lines would break the progress
    display; they only matter when a kernel dies.
    """
    descriptor, name = tempfile.mkstemp(prefix="workbook-", suffix=".log")
    saved = os.dup(1), os.dup(2)
    try:
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        yield Path(name)
    finally:
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for open_descriptor in (*saved, descriptor):
            os.close(open_descriptor)
        with contextlib.suppress(OSError):
            os.unlink(name)


def _died_at_start(error: Exception) -> bool:
    """Return whether a kernel ended before its first cell.

    Kernels take free ports by asking first and binding later, so two that start together can meet on one.
    """
    return isinstance(error, RuntimeError) and "Kernel died before replying" in str(error)


def _finish(temporary: Path, final: Path) -> NotebookNode | None:
    """Give the executed notebook its name and return its content; None when nothing was executed."""
    if not temporary.exists():
        return None
    os.replace(temporary, final)
    return nbformat.read(final, as_version=4)


def _explain(error: Exception, temporary: Path, timeout: int | None, output: Path) -> Failure:
    """Return what to tell of an exception, with the cell that was running."""
    if isinstance(error, PapermillExecutionError):
        return Failure(
            f"{error.ename}: {_plain(error.evalue)}",
            f"In [{error.exec_count}]",
            error.source,
            _end(_plain("\n".join(error.traceback))),
        )
    cell = _last_started_cell(temporary)
    source = cell.source if cell else ""
    if isinstance(error, DeadKernelError):
        message = (
            "the kernel died, probably for want of memory: run with --workers 1, close other programs, "
            "or give smaller parameters"
        )
        return Failure(message, "the cell that was running", source, _end(_plain(_read(output))))
    if isinstance(error, CellTimeoutError):
        return Failure(f"a cell took longer than --timeout {timeout} seconds", "the cell", source)
    message = f"{type(error).__name__}: {_end(_plain(str(error)))}"
    return Failure(message, "the cell" if source else "", source, _end(_plain(_read(output))))


def _last_started_cell(path: Path) -> NotebookNode | None:
    """Return the code cell that was running when the notebook was last saved."""
    if not path.exists():
        return None
    cells = nbformat.read(path, as_version=4).cells
    started = [c for c in cells if c.cell_type == "code" and c.metadata.get("papermill", {}).get("start_time")]
    return started[-1] if started else None


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _plain(text: str) -> str:
    return _ANSI.sub("", text)


def _end(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_TRACEBACK_LINES:])
