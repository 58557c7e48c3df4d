"""The commands of ``python -m workbook``, one a module; each parses and calls one library function."""
