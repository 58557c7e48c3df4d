"""Commands for the labs of a learner (``start``, ``reset``, ``catch-up``, ``progress``) and of a class."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@click.command()
@click.argument("labs", nargs=-1, metavar="[LAB]...")
def start(labs: tuple[str, ...]) -> None:
    """Copy labs (all, or those named: 07) to my_labs/, where you work; a copy that is there is left alone."""
    from workbook.exercises.desk import DeskError
    from workbook.exercises.desk import start as start_labs

    with _told(DeskError):
        done = start_labs(labs)
    for path, new in done:
        click.echo(f"my_labs/{path.name}: {'copied' if new else 'is there already and was left as it is'}")
    if not done:
        click.echo("there are no labs yet")


@click.command()
@click.argument("lab")
def reset(lab: str) -> None:
    """Begin LAB anew. What you have written is kept beside it under a name with date and time."""
    from workbook.exercises.desk import DeskError
    from workbook.exercises.desk import reset as reset_lab

    with _told(DeskError):
        mine, kept = reset_lab(lab)
    click.echo(f"my_labs/{mine.name} is fresh; what was there is in my_labs/{kept.name}. Points reached so far stay.")


@click.command("catch-up")
@click.argument("exercise")
def catch_up(exercise: str) -> None:
    """Fill in the exercises before EXERCISE (such as 07.4), for whoever joins late. What you have written stays."""
    from workbook.exercises.desk import DeskError
    from workbook.exercises.desk import catch_up as fill_in

    with _told(DeskError):
        filled = fill_in(exercise)
    if filled:
        click.echo(f"filled in: {', '.join(filled)}; the lab as it was is kept beside it. Reload it in JupyterLab.")
    else:
        click.echo(f"nothing to fill in before {exercise}: every cell there has been written in")


@click.command()
def progress() -> None:
    """Show how far you are in each lab. Kept on this machine only, in plain files in my_labs/progress/."""
    from rich.console import Console
    from rich.table import Table

    from workbook.exercises.overview import my_progress

    rows = my_progress()
    if not rows:
        click.echo("there are no labs yet")
        return
    table = Table("lab", "", "done", "points", "hints")
    for row in rows:
        bar = "█" * row.done + "░" * (row.exercises - row.done)
        done = f"{row.done} of {row.exercises}" if row.started else "not started"
        table.add_row(row.lab, bar, done, f"{row.points:g} of {row.out_of}", str(row.hints or ""))
    Console(highlight=False).print(table)


@click.command("class-report")
@click.argument("folder", type=click.Path(path_type=Path))
def class_report(folder: Path) -> None:
    """Read the labs that a class returned in FOLDER: who is where, and which exercises stop people."""
    from rich.console import Console
    from rich.table import Table

    from workbook.exercises.exercise import Outcome
    from workbook.exercises.overview import class_report as read_class

    with _told(FileNotFoundError):
        report = read_class(folder)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    signs = {Outcome.CORRECT: "✔", Outcome.WRONG: "✘", Outcome.ERROR: "⚠", Outcome.NOT_ATTEMPTED: "·"}
    people = Table("who", "lab", "exercises", "points", title="Who is where")
    for one in sorted(report.returned, key=lambda one: (one.lab, one.who)):
        marks = " ".join(f"{id.split('.')[1]}{signs[Outcome(outcome)]}" for id, outcome in one.outcomes.items())
        people.add_row(one.who, one.lab, marks, f"{one.points:g}")
    console.print(people)
    stops = Table("exercise", *map(str, Outcome), title="Which exercises stop people")
    for id, counts in report.stops().items():
        stops.add_row(id, *(str(counts[outcome]) for outcome in Outcome))
    console.print(stops)
    for name, reason in report.unread:
        console.print(f"not read: {name}: {reason}", soft_wrap=True)


@contextmanager
def _told(kind: type[Exception]) -> Iterator[None]:
    """Turn the errors of a kind into one line and exit status 1."""
    try:
        yield
    except kind as error:
        raise click.ClickException(str(error)) from error
