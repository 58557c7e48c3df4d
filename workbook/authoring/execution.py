"""Runs the cells of a notebook in a fresh kernel and keeps what a reader needs of the result."""

import asyncio
import contextlib
import re
import signal
import sys
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from workbook.paths import ROOT

KERNEL = "python3"
TRACEBACK_LINES = 15
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class ExecutionError(Exception):
    """A cell failed or the kernel died; the message holds the cell and the end of the traceback."""


def execute(notebook: NotebookNode, cwd: Path = ROOT) -> NotebookNode:
    """Return an executed copy of ``notebook``, run from top to bottom with ``cwd`` as working directory.

    Runs at the parameters that stand in the notebook. Raises `ExecutionError` at the first failing cell;
    ``notebook`` itself is not changed.
    """
    running = nbformat.from_dict(notebook)
    current = 0

    def remember(cell: NotebookNode, cell_index: int) -> None:
        nonlocal current
        current = cell_index

    client = NotebookClient(
        running,
        kernel_name=KERNEL,
        resources={"metadata": {"path": str(cwd)}},
        timeout=None,
        startup_timeout=120,
        record_timing=False,
        coalesce_streams=True,
        # The kernel warns at each start that TCP on this machine is not encrypted; an author cannot act on it.
        extra_arguments=["--log-level=ERROR"],
        on_cell_start=remember,
    )
    try:
        asyncio.run(_run(client))
    except _Interrupted:
        raise KeyboardInterrupt from None
    except NoSuchKernel as error:
        install = f"{sys.executable} -m ipykernel install --sys-prefix"
        raise ExecutionError(f"there is no Jupyter kernel named {KERNEL}; run `{install}`") from error
    except CellExecutionError as error:
        raise ExecutionError(_failure(current, running.cells[current], _traceback(running.cells[current]))) from error
    except DeadKernelError as error:
        reason = "The kernel died while this cell ran; that usually means it ran out of memory."
        raise ExecutionError(_failure(current, running.cells[current], reason)) from error
    return _cleaned(notebook, running)


class _Interrupted(Exception):
    """Ctrl-C while cells were running; a KeyboardInterrupt may not pass through the event loop."""


async def _run(client: NotebookClient) -> None:
    """Execute and, on Ctrl-C, stop: nbclient's own handler ends the kernel and then reports a dead kernel."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        client.shutdown_kernel = "immediate"
        task.cancel()

    def listen(notebook: NotebookNode) -> None:
        with contextlib.suppress(RuntimeError):  # no main thread, or Windows: nbclient sets no handler either
            loop.add_signal_handler(signal.SIGINT, interrupt)

    client.on_notebook_start = listen
    try:
        await client.async_execute()
    except (asyncio.CancelledError, DeadKernelError):
        if interrupted:
            raise _Interrupted from None
        raise


def _cleaned(notebook: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """Take outputs and counts from the run, everything else (ids, metadata) from the notebook as written."""
    clean = nbformat.from_dict(notebook)
    for cell, ran in zip(clean.cells, executed.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    return clean


def _traceback(cell: NotebookNode) -> str:
    errors = [output for output in cell.outputs if output.output_type == "error"]
    lines = _ANSI.sub("", "\n".join(errors[-1].traceback)).splitlines() if errors else []
    return "\n".join(lines[-TRACEBACK_LINES:])


def _failure(index: int, cell: NotebookNode, reason: str) -> str:
    source = "\n".join(f"    {line}" for line in cell.source.splitlines())
    return f"cell {index + 1} failed:\n{source}\n{reason}"
