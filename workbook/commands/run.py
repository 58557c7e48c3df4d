"""``python -m workbook run``: runs chapters, named notebooks or a job file."""

import signal
import sys
from pathlib import Path

import click

from workbook.runner.errors import JobError


@click.command()
@click.argument("notebooks", nargs=-1, metavar="[NOTEBOOK]...")
@click.option(
    "-p",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a parameter of the notebooks (repeatable), for example -p draws=10 -p 'ks=[1, 5]'.",
)
@click.option("--profile", metavar="P", help="Short for -p profile=P: quick, public or gpu.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Notebooks that run at once; they share the cores.  [default: as many as there are cores]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the results, new or empty.  [default: runs/ and date and time]",
)
@click.option(
    "--jobs",
    "job_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file that describes the run: notebooks, parameters, grid, seeds.",
)
@click.option(
    "--timeout",
    type=click.IntRange(min=1),
    metavar="S",
    help="Longest that one cell may run, in seconds.  [default: no limit]",
)
def run(
    notebooks: tuple[str, ...],
    assignments: tuple[str, ...],
    profile: str | None,
    workers: int | None,
    out: Path | None,
    job_file: Path | None,
    timeout: int | None,
) -> None:
    """Run notebooks and leave executed copies, results.csv and report.html under runs/.

    NOTEBOOK is a number (01, 4b), a name (01_concepts) or a path; without any, every chapter runs.
    Exit status: 0 when every notebook ran and its claims hold, 1 otherwise, 130 after Ctrl-C.
    """
    try:
        # Imported here: papermill takes a second, and `--help` should not.
        from workbook.runner.start import start_run

        status = start_run(
            notebooks,
            assignments=assignments,
            profile=profile,
            workers=workers,
            out=out,
            job_file=job_file,
            timeout=timeout,
        )
    except JobError as error:
        for problem in error.problems:
            click.echo(f"Error: {problem}", err=True)
        click.echo("Nothing was run.", err=True)
        status = 1
    except OSError as error:  # a full disk, a folder that was removed
        click.echo(f"Error: the run ended early: {error}. Finished notebooks stay in its folder.", err=True)
        status = 1
    except KeyboardInterrupt:  # once jobs run, the runner takes Ctrl-C itself
        click.echo("Interrupted before anything ran.", err=True)
        status = 130
    if status == 130:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not change the exit status
    sys.exit(status)
