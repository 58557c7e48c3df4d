"""A tiny lab of two exercises and its solution, for the tests of lab generation, of a learner's desk and of grading."""

from pathlib import Path

import nbformat

from workbook.authoring.labs import make_lab
from workbook.authoring.pairing import HEADER, read_source
from workbook.exercises.exercise import Lab, Wrong
from workbook.exercises.values import as_number, is_close, must_return

CELLS = """
# %% [markdown]
# # A toy lab

# %% tags=["parameters"]
seed = 0  # type: int

# %%
import numpy as np

from workbook.exercises.lab import check, hint, show_progress

# %% [markdown]
# ### 99.1 · The mean of squares (2 points, 3 minutes)
#
# Write `mean_square(x)`.


# %%
def mean_square(x):
    # BEGIN SOLUTION
    squares = np.square(x)
    return squares.mean()
    # END SOLUTION


# %%
check("99.1", mean_square)

# %% [markdown] tags=["solution-only"]
# The square of the mean is the usual wrong answer.

# %% [markdown]
# ### 99.2 · Predict (1 point, 1 minute)
#
# How many of six are even?

# %%
guess = None
# BEGIN SOLUTION
guess = 3 + 0 * seed
# END SOLUTION

# %%
check("99.2", guess)

# %%
show_progress("99")
"""

LAB = Lab("99")


@LAB.exercise(
    "99.1",
    "The mean of squares",
    minutes=3,
    points=2,
    expects="a function of an array that returns a number",
    hints=["What is squared first?", "Square, then take the mean."],
)
def _(draw, answer):
    x = draw.normal(size=20)
    found = as_number(must_return(answer(x)))
    if is_close(found, (x**2).sum()):
        raise Wrong("this is the sum", share=0.5)
    if not is_close(found, (x**2).mean()):
        raise Wrong("on fresh numbers it gives another value")
    return "the order matters"


@LAB.exercise("99.2", "Predict", minutes=1, points=1, expects="a number", hints=["Count.", "2, 4, 6."])
def _(draw, answer):
    if as_number(answer) != 3:
        raise Wrong("count again")
    return ""


def write_toy_lab(root: Path, name: str = "99_toy") -> tuple[Path, Path]:
    """Write text, solution (unexecuted) and lab of the toy under ``root``; return the two notebooks."""
    source = root / "solutions" / "source" / f"{name}.py"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(HEADER + CELLS, encoding="utf-8")
    solution = read_source(source)
    paths = root / "solutions" / f"{name}.ipynb", root / "labs" / f"{name}.ipynb"
    for path, notebook in zip(paths, (solution, make_lab(solution)), strict=True):
        path.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, path)
    return paths
