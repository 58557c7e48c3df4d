"""A lab is made from its solution: stubs in place of answers, nothing given away, cells that nbgrader can grade."""

import nbformat
import pytest

from tests.toy_lab import write_toy_lab
from workbook.authoring.gate import lab_findings
from workbook.authoring.labs import LabError, headings, leaks, make_lab, mark_for_grading, solution_lines
from workbook.authoring.pairing import find_pairs, read_source


@pytest.fixture
def toy(tmp_path):
    """The toy's pair, solution and lab."""
    write_toy_lab(tmp_path)
    (pair,) = find_pairs(tmp_path)
    solution = read_source(pair.source)
    return pair, solution, make_lab(solution)


def cell_of(notebook, grade_id):
    return next(cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id)


def test_headings_say_what_an_exercise_is_worth(toy):
    _, solution, _ = toy
    assert [(h.id, h.title, h.points, h.minutes) for h in headings(solution)] == [
        ("99.1", "The mean of squares", 2, 3),
        ("99.2", "Predict", 1, 1),
    ]


def test_answers_become_stubs_in_their_place(toy):
    _, _, lab = toy
    assert cell_of(lab, "answer-99-1").source == "def mean_square(x):\n    pass  # your answer"
    assert cell_of(lab, "answer-99-2").source == "guess = None\npass  # your answer"


def test_a_lab_runs_as_it_is(toy):
    _, _, lab = toy
    sources = [cell.source for cell in lab.cells if cell.cell_type == "code"]
    code = "\n".join(line for line in "\n".join(sources).splitlines() if "check(" not in line and "show_p" not in line)
    exec(compile(code, "lab", "exec"), {})


def test_explanations_stay_in_the_solution(toy):
    _, solution, lab = toy
    assert len(lab.cells) == len(solution.cells) - 1
    assert not any("usual wrong answer" in cell.source for cell in lab.cells)


def test_no_line_of_a_solution_is_in_its_lab(toy):
    _, solution, lab = toy
    assert list(solution_lines(solution)) == [
        "squares = np.square(x)",
        "return squares.mean()",
        "The square of the mean is the usual wrong answer.",
        "guess = 3 + 0 * seed",
    ]
    assert leaks(solution, lab) == []
    lab.cells[3].source += "\nHint: `squares = np.square(x)`"
    assert leaks(solution, lab) == ["squares = np.square(x)"]


def test_cells_carry_nbgraders_metadata(toy):
    _, _, lab = toy
    answer, judged = cell_of(lab, "answer-99-1").metadata, cell_of(lab, "check-99-1").metadata
    assert (answer.nbgrader.solution, answer.nbgrader.grade, answer.nbgrader.locked) == (True, False, False)
    assert (judged.nbgrader.solution, judged.nbgrader.grade, judged.nbgrader.locked) == (False, True, True)
    assert judged.nbgrader.points == 2
    assert (judged.deletable, judged.editable, answer.deletable) == (False, False, False)


def with_code(*sources):
    cells = [nbformat.v4.new_markdown_cell("### 99.1 · A (1 point, 1 minute)")]
    return nbformat.v4.new_notebook(cells=[*cells, *map(nbformat.v4.new_code_cell, sources)])


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (['# BEGIN SOLUTION\nx = 1\n# END SOLUTION\ncheck("99.1", x)'], "cell 2 holds an answer and a check"),
        (['check("99.1", 1)\ncheck("99.1", 2)'], "cell 2 checks 2 exercises"),
        (['check("99.2", 1)'], "cell 2 checks 99.2, which no heading announces"),
        (["# BEGIN SOLUTION\nx = 1"], "cell 2: BEGIN SOLUTION without END SOLUTION"),
        (["# END SOLUTION"], "cell 2: END SOLUTION without BEGIN SOLUTION"),
        (["# BEGIN SOLUTION\n# BEGIN SOLUTION\n# END SOLUTION"], "a second BEGIN SOLUTION"),
    ],
)
def test_a_solution_that_makes_no_lab_is_named(sources, said):
    with pytest.raises(LabError, match=said):
        make_lab(mark_for_grading(with_code(*sources)))


def test_the_gate_wants_the_lab_that_the_text_makes(toy):
    pair, solution, lab = toy
    assert any("its checks judge []" in finding for finding in lab_findings(pair, solution, solution))
    lab.cells[3].source = "another text"
    nbformat.write(lab, pair.lab)
    assert any(
        "labs/99_toy.ipynb and the solution's text disagree" in f for f in lab_findings(pair, solution, solution)
    )
    pair.lab.unlink()
    assert "has no lab yet" in lab_findings(pair, solution, solution)[0]
