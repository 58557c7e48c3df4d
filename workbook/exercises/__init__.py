"""Exercises that check, hint and teach. A lab calls `check`, `hint` and `show_progress` of `workbook.exercises.lab`."""
