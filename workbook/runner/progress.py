"""Tells how a run goes: a live table on a terminal, occasional lines elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from workbook.runner.results import Result


class Progress(Protocol):
    """What a run reports while it goes; a context manager around it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None: ...

    def started(self, job_id: str) -> None:
        """Tell that a job has begun."""

    def finished(self, result: Result) -> None:
        """Tell that a job has ended."""

    def tick(self) -> None:
        """Tell that time has passed; called several times a second."""


def choose_progress(total: int, console: Console) -> "Progress":
    """Return the live display on a terminal, plain lines elsewhere (files, pipes, continuous integration)."""
    return LiveProgress(total, console) if console.is_terminal else PlainProgress(total)


def clock(seconds: float) -> str:
    """Return a duration as people read it: '8 s', '3 min 05 s', '2 h 01 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class _Board:
    """What both displays know: who runs since when, and how many have ended."""

    def __init__(self, total: int, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._begin = now()
        self._total = total
        self._done = 0
        self._running: dict[str, float] = {}

    def started(self, job_id: str) -> None:
        self._running[job_id] = self._now()

    def finished(self, result: Result) -> None:
        self._running.pop(result.job_id, None)
        self._done += 1

    def _headline(self) -> str:
        return f"{clock(self._now() - self._begin)} · {self._done} of {self._total} finished"

    def _end_line(self, result: Result) -> str:
        return f"{result.job_id}: {result.status}, {clock(result.seconds)}, {result.peak_mb:.0f} MB"


class PlainProgress(_Board):
    """Lines for start and end of each job, and a sign of life every ``heartbeat`` seconds."""

    def __init__(
        self,
        total: int,
        write: Callable[[str], None] = lambda line: print(line, flush=True),
        heartbeat: float = 20.0,
        now: Callable[[], float] = time.monotonic,
    ):
        super().__init__(total, now)
        self._write = write
        self._heartbeat = heartbeat
        self._last = self._begin

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        pass

    def started(self, job_id: str) -> None:
        """Write that a job has begun."""
        super().started(job_id)
        self._say(f"{job_id}: started")

    def finished(self, result: Result) -> None:
        """Write how a job has ended."""
        super().finished(result)
        self._say(f"{self._end_line(result)} ({self._headline()})")

    def tick(self) -> None:
        """Write a sign of life when nothing was written for a while."""
        if self._now() - self._last >= self._heartbeat:
            running = ", ".join(f"{job} ({clock(self._now() - since)})" for job, since in self._running.items())
            self._say(f"{self._headline()}, running: {running}")

    def _say(self, line: str) -> None:
        self._last = self._now()
        self._write(line)


class LiveProgress(_Board):
    """A display that moves: elapsed time for the run and for each running job; ended jobs stay as lines."""

    def __init__(self, total: int, console: Console):
        super().__init__(total)
        self._console = console
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._live.stop()

    def finished(self, result: Result) -> None:
        """Print how a job has ended above the moving part."""
        super().finished(result)
        style = "green" if result.succeeded else "bold red"
        self._console.print(Text(self._end_line(result), style=style))

    def tick(self) -> None:
        """Nothing to do: the display refreshes itself."""

    def _render(self) -> Text:
        lines = [self._headline()]
        lines += [f"  {job}  {clock(self._now() - since)}" for job, since in list(self._running.items())]
        return Text("\n".join(lines))
