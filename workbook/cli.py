"""``python -m workbook``: one thin command for each job of the tooling."""

import click

from workbook.commands.build import build
from workbook.commands.doctor import doctor
from workbook.commands.labs import catch_up, class_report, progress, reset, start
from workbook.commands.run import run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run, build and check the Transfer Learning Workbook."""


for command in (run, build, doctor, start, reset, catch_up, progress, class_report):
    main.add_command(command)
