"""Entry point of ``python -m workbook``."""

from workbook.cli import main

main(prog_name="python -m workbook")
