"""Data and weights for the workbook."""
