"""What a run prints when it ends: failures, claims, jobs, and where the report is."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from workbook.runner.progress import clock
from workbook.runner.results import Failure, Result, verdict, within_band

_STYLES = {"holds": "green", "FAILS": "bold red", "ok": "green", "failed": "bold red", "cancelled": "yellow"}


def print_summary(results: Sequence[Result], console: Console) -> None:
    """Print the results of a run: tables of claims and jobs, then each failure with its cell."""
    claims = [(result, claim) for result in results for claim in result.claims]
    if claims:
        table = _table("Claims", "job", "claim", "statement", "verdict")
        for result, claim in claims:
            table.add_row(result.job_id, claim["id"], claim["statement"], _coloured(verdict(claim)))
        console.print(table)
    table = _table("Jobs", "job", "status", "time", "peak memory", "claims", "records", "outside band")
    for result in results:
        outside = sum(within_band(record) is False for record in result.records)
        ran = result.status != "cancelled"
        table.add_row(
            result.job_id,
            _coloured(result.status),
            clock(result.seconds) if ran else "",
            f"{result.peak_mb:.0f} MB" if ran else "",
            str(len(result.claims)),
            str(len(result.records)),
            str(outside),
        )
    console.print(table)
    for result in results:
        if result.failure:
            # Text as it is: square brackets in a cell are no markup, and long lines are not folded.
            console.print(Text(failure_text(result.job_id, result.failure)), soft_wrap=True)


def failure_text(job_id: str, failure: Failure) -> str:
    """Return what is shown of a failure: its message, the cell's source, the end of its traceback."""
    parts = [f"\n{job_id} failed: {failure.message}"]
    if failure.source:
        parts.append(f"--- {failure.cell} ---\n{failure.source}")
    if failure.traceback:
        parts.append(f"--- the end of what it printed ---\n{failure.traceback}")
    return "\n".join(parts) + "\n"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _coloured(word: str) -> Text:
    return Text(word, style=_STYLES.get(word, "yellow"))
