"""Progress without a terminal: start, end, and a sign of life in between."""

import io

from rich.console import Console

from workbook.runner.progress import LiveProgress, PlainProgress, choose_progress, clock
from workbook.runner.results import Result


def test_plain_lines_tell_start_end_and_a_heartbeat():
    time, lines = [0.0], []
    with PlainProgress(2, lines.append, heartbeat=20, now=lambda: time[0]) as progress:
        progress.started("01_a")
        for second in range(46):
            time[0] = float(second)
            progress.tick()
        progress.finished(Result("01_a", "ok", seconds=45, peak_mb=312))
    assert lines == [
        "01_a: started",
        "20 s · 0 of 2 finished, running: 01_a (20 s)",
        "40 s · 0 of 2 finished, running: 01_a (40 s)",
        "01_a: ok, 45 s, 312 MB (45 s · 1 of 2 finished)",
    ]


def test_display_follows_the_console():
    assert isinstance(choose_progress(1, Console(file=io.StringIO())), PlainProgress)
    assert isinstance(choose_progress(1, Console(file=io.StringIO(), force_terminal=True)), LiveProgress)


def test_live_display_shows_running_jobs_and_keeps_ended_ones():
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None)
    with LiveProgress(2, console) as progress:
        progress.started("01_a")
        progress.started("02_b")
        progress.finished(Result("01_a", "ok", seconds=1, peak_mb=10))
    shown = console.file.getvalue()
    assert "01_a: ok, 1 s, 10 MB" in shown
    assert "02_b  0 s" in shown


def test_clock_reads_naturally():
    assert [clock(s) for s in (7.6, 185, 7300)] == ["8 s", "3 min 05 s", "2 h 01 min"]
