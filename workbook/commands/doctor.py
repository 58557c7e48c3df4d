"""``python -m workbook doctor``."""

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from workbook.doctor import Finding, examine

COLOURS = {"ok": "green", "note": "yellow", "problem": "bold red"}


@click.command()
@click.option("--offline", is_flag=True, help="Do not try the network.")
@click.option("--imports", is_flag=True, help="Import each framework too, in a process of its own.")
def doctor(offline: bool, imports: bool) -> None:
    """Say what this machine has for the course, and what to do about each lack.

    The exit status is 1 if there is a problem; a note is no problem.
    """
    findings = examine(offline=offline, imports=imports)
    console = Console()
    console.print(draw(findings))
    problems, notes = (sum(f.status == status for f in findings) for status in ("problem", "note"))
    console.print(f"{problems} problem{'s' * (problems != 1)}, {notes} note{'s' * (notes != 1)}.")
    if problems:
        raise SystemExit(1)


def draw(findings: list[Finding]) -> Table:
    """Return the findings as a table with one row each."""
    table = Table("what", "found", "status", "what to do", title="What this machine has")
    for column in (table.columns[1], table.columns[3]):
        column.overflow = "fold"  # a path that is cut off is of no use
    for finding in findings:
        status = Text(finding.status, style=COLOURS[finding.status])
        # Text, not str: square brackets in a path or a message are no markup.
        table.add_row(Text(finding.what), Text(finding.found), status, Text(finding.advice))
    return table
