"""A tiny notebook of the workbook's form, without any framework, for the tests of build, gate and net."""

import copy
import tempfile
from functools import lru_cache
from pathlib import Path

from nbformat import NotebookNode

from workbook.authoring.execution import execute
from workbook.authoring.pairing import HEADER, Pair, read_source

TOY_CELLS = """
# %% [markdown]
# # A toy chapter
#
# | k | what |
# |---|------|
# | 1 | one  |

# %% tags=["parameters"]
profile = "quick"  # type: str
seed = 0  # type: int
ks = [1, 5]  # type: list
gpu_on_cpu = False  # type: bool

# %%
from IPython.display import display


def claim(claim_id, statement, holds, in_scope=True):
    verdict = "holds" if holds else "does not hold"
    bundle = {"id": claim_id, "statement": statement, "holds": bool(holds), "in_scope": in_scope}
    line = f"Claim {claim_id} · {statement} · {verdict}"
    display({"text/plain": line, "application/vnd.workbook.claim+json": bundle}, raw=True)
    assert holds or not in_scope, line


# %%
print("numbers:", sum(ks))

# %%
claim("00.one", "one is less than two", 1 < 2)

# %%
claim("00.sum", "a sum of positive numbers is positive", sum(ks) > 0)

# %%
import time

values = [time.perf_counter() % 1, time.perf_counter() % 1]
mean = sum(values) / 2
record = {"name": "00.clock.k1", "values": values, "mean": mean, "low": None, "high": None}
record |= {"confidence": 0.95, "expected": None, "unit": "", "device": "cpu"}
bundle = {"text/plain": "Record 00.clock.k1", "text/markdown": f"**00.clock.k1** = {mean:.3f}"}
display(bundle | {"application/vnd.workbook.record+json": record}, raw=True)

# %% [markdown]
# Read the number just shown.

# %%
claim("00.max", "the largest k is the last", max(ks) == ks[-1])

# %% tags=["gpu", "nbval-ignore-output"]
print("no GPU here: skipped")

# %%
for k in ks:
    claim(f"00.positive.k{k}", f"k = {k} is positive", k > 0)
"""
TOY_SOURCE = HEADER + TOY_CELLS


def toy_pair(folder: Path, source: str = TOY_SOURCE, stem: str = "00_toy") -> Pair:
    """Write ``source`` as the text of a chapter under ``folder`` (a stand-in for the repository root)."""
    pair = Pair(folder / "chapters" / "source" / f"{stem}.py", folder / "chapters" / f"{stem}.ipynb")
    pair.source.parent.mkdir(parents=True, exist_ok=True)
    pair.source.write_text(source, encoding="utf-8")
    return pair


@lru_cache(maxsize=1)
def _executed() -> NotebookNode:
    with tempfile.TemporaryDirectory() as folder:
        return execute(read_source(toy_pair(Path(folder)).source), Path(folder))


def executed_toy() -> NotebookNode:
    """Return a copy of the executed toy notebook, to be broken; it is run once a session."""
    return copy.deepcopy(_executed())


def cell_holding(notebook: NotebookNode, text: str) -> NotebookNode:
    """Return the first code cell with ``text`` in its source."""
    return next(cell for cell in notebook.cells if cell.cell_type == "code" and text in cell.source)
