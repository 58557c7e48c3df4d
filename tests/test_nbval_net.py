"""Proof that nbval's comparison catches what it should, and that the gate catches what nbval cannot see.

Five cells of one copy of a notebook are broken, each in another way, and nbval runs that copy once.
"""

import ast
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tests.toy_notebooks import executed_toy
from workbook.authoring.cells import code_cells, tags
from workbook.authoring.comparison import compared_outputs
from workbook.authoring.gate import output_findings
from workbook.bundles import CLAIM_MIME
from workbook.paths import CHAPTERS, ROOT

CHAPTER = CHAPTERS / "01_concepts.ipynb"
CLAIMS_NEEDED = 4


@dataclass(frozen=True)
class Broken:
    """A copy of a notebook and the code cells, as nbval counts them, that were broken in it."""

    notebook: NotebookNode
    falsified: int
    edited_text: int
    edited_bundle: int
    removed_output: int
    nulled_count: int

    @property
    def must_fail(self) -> set[str]:
        """The names of the test cases that nbval must fail."""
        numbers = (self.falsified, self.edited_text, self.edited_bundle, self.removed_output)
        return {f"Cell {number}" for number in numbers}


def claims_in(cell: NotebookNode) -> list[dict]:
    return [output.data for output in cell.outputs if CLAIM_MIME in output.get("data", {})]


def shortest_prefix(notebook: NotebookNode) -> NotebookNode:
    """Return the first cells of ``notebook``, without GPU sections, up to the fourth claim (in a third cell)."""
    kept, claim_cells, claims = [], 0, 0
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code" and "gpu" not in tags(cell)):
        kept.append(cell)
        claims += len(claims_in(cell))
        claim_cells += bool(claims_in(cell))
        comparable = sum(bool(compared_outputs(cell)) for cell in kept)
        if claims >= CLAIMS_NEEDED and claim_cells >= 3 and comparable >= 5:
            break
    else:
        pytest.fail(f"needs {CLAIMS_NEEDED} claims in 3 cells and 5 cells with outputs; cannot show the net on it")
    short = nbformat.v4.new_notebook(metadata=notebook.metadata, cells=kept)
    for count, (_, cell) in enumerate(code_cells(short), start=1):
        cell.execution_count = count
    return short


def negate_claim(source: str) -> str:
    """Return ``source`` with the condition of its last ``claim(id, statement, holds)`` negated."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    claims = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "claim"]
    call = max(claims, key=lambda call: call.lineno)
    condition = next((keyword.value for keyword in call.keywords if keyword.arg == "holds"), None) or call.args[2]
    lines = [line.encode() for line in source.splitlines(keepends=True)]  # ast counts columns in bytes
    start = sum(map(len, lines[: condition.lineno - 1])) + condition.col_offset
    end = sum(map(len, lines[: condition.end_lineno - 1])) + condition.end_col_offset
    code = source.encode()
    return (code[:start] + b"not (" + code[start:end] + b")" + code[end:]).decode()


def break_five_cells(notebook: NotebookNode) -> Broken:
    """Break a copy that passes nbval. The falsified claim stands last: no later cell can depend on its cell."""
    cells = notebook.cells
    with_claims = [number for number, cell in enumerate(cells) if claims_in(cell)]
    edited_text, edited_bundle, *_, falsified = with_claims
    others = [number for number, cell in enumerate(cells) if compared_outputs(cell)]
    removed, nulled, *_ = (n for n in others if n not in (edited_text, edited_bundle, falsified))

    cells[falsified].source = negate_claim(cells[falsified].source)
    line = claims_in(cells[edited_text])[0]
    line["text/plain"] = line["text/plain"].replace(" · holds", ", always · holds")
    claims_in(cells[edited_bundle])[0][CLAIM_MIME]["statement"] += ", always"
    cells[removed].outputs = []
    cells[nulled].execution_count, cells[nulled].outputs = None, []
    return Broken(notebook, falsified, edited_text, edited_bundle, removed, nulled)


def run_nbval(notebook: NotebookNode, folder: Path) -> dict[str, str]:
    """Run nbval as ``make test`` does and return 'passed' or the failure's text for each cell."""
    # The copy stands outside the repository, so the settings that the root conftest.py makes come along.
    shutil.copy(ROOT / "conftest.py", folder)
    nbformat.write(notebook, folder / "copy.ipynb")
    report = folder / "report.xml"
    options = ["--nbval", "--nbval-current-env", "-p", "no:xdist", "-p", "no:cacheprovider", "--color=no"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", f"--rootdir={folder}", "copy.ipynb"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
    )
    assert run.returncode in (0, 1), f"nbval did not run:\n{run.stdout}\n{run.stderr}"
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return {case.get("name"): outcome(case) for case in cases}


def outcome(case: ElementTree.Element) -> str:
    problem = case.find("failure") if case.find("failure") is not None else case.find("error")
    return "passed" if problem is None else f"{problem.get('message')}\n{problem.text}"


@pytest.fixture(
    params=[
        "toy",
        pytest.param(
            "01_concepts",
            marks=[
                pytest.mark.chapter,
                pytest.mark.skipif(not CHAPTER.exists(), reason="chapter 01 is not written yet"),
            ],
        ),
    ]
)
def intact(request):
    whole = executed_toy() if request.param == "toy" else nbformat.read(CHAPTER, as_version=4)
    return shortest_prefix(whole)


def test_net_catches_each_broken_cell(intact, tmp_path):
    broken = break_five_cells(intact)
    outcomes = run_nbval(broken.notebook, tmp_path)
    assert set(outcomes) == {f"Cell {number}" for number in range(len(broken.notebook.cells))}
    failed = {name for name, text in outcomes.items() if text != "passed"}
    assert failed == broken.must_fail

    assert "does not hold" in outcomes[f"Cell {broken.falsified}"]
    assert "mismatch 'text/plain'" in outcomes[f"Cell {broken.edited_text}"]
    assert f"mismatch '{CLAIM_MIME}'" in outcomes[f"Cell {broken.edited_bundle}"]
    assert "Unexpected output fields" in outcomes[f"Cell {broken.removed_output}"]


def test_gate_reports_what_nbval_passes(intact):
    assert output_findings(intact, "copy.ipynb") == []
    broken = break_five_cells(intact)
    uncounted = [text for text in output_findings(broken.notebook, "copy.ipynb") if "no execution count" in text]
    assert len(uncounted) == 1
    assert f"cell {broken.nulled_count + 1} (" in uncounted[0]


def test_net_raises_no_false_alarm(tmp_path):
    # Among the cells is a record whose digits differ in every run: its digits are not compared.
    outcomes = run_nbval(executed_toy(), tmp_path)
    assert set(outcomes.values()) == {"passed"}
    assert len(outcomes) == 9


@pytest.mark.parametrize(
    ("source", "negated"),
    [
        ("claim('a', 'b', x > 1)", "claim('a', 'b', not (x > 1))"),
        ("claim('a', 'b', holds=x > 1)", "claim('a', 'b', holds=not (x > 1))"),
        ("claim('a', '§', ok)\nprint(ok)", "claim('a', '§', not (ok))\nprint(ok)"),
        ("claim('a', 'b', x > 1)\nclaim('c', 'd', ok)", "claim('a', 'b', x > 1)\nclaim('c', 'd', not (ok))"),
    ],
)
def test_a_claim_is_falsified_in_its_code(source, negated):
    assert negate_claim(source) == negated
