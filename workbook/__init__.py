"""Tools that run, build and check the workbook."""
