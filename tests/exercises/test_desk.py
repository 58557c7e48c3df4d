"""Labs are copied to a learner's folder and never written over; what changes leaves a dated copy."""

import nbformat
import pytest

from tests.toy_lab import write_toy_lab
from workbook.exercises.desk import DeskError, catch_up, find_lab, reset, start


@pytest.fixture
def course(tmp_path):
    """The folders of a course with one lab."""
    write_toy_lab(tmp_path)
    return {"labs": tmp_path / "labs", "desk": tmp_path / "my_labs"}


def sources(path):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells]


def write(path, cell, source):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[cell].source = source
    nbformat.write(notebook, path)


@pytest.mark.parametrize("name", ["99", "99_toy", "99_toy.ipynb"])
def test_a_lab_is_found_by_number_or_name(course, name):
    assert find_lab(name, course["labs"]).name == "99_toy.ipynb"


def test_an_unknown_lab_is_told_with_those_there_are(course, tmp_path):
    with pytest.raises(DeskError, match="there is no lab '7'; there are 99_toy"):
        start(["7"], **course)
    with pytest.raises(DeskError, match="no lab is there yet"):
        find_lab("7", tmp_path)


def test_starting_copies_once(course):
    ((mine, new),) = start(["99"], **course)
    assert new
    assert mine.read_bytes() == (course["labs"] / "99_toy.ipynb").read_bytes()
    mine.write_text("my work", encoding="utf-8")
    assert start(**course) == [(mine, False)]
    assert mine.read_text(encoding="utf-8") == "my work"


def test_a_reset_keeps_what_was_there_under_a_name_of_its_own(course):
    start(**course)
    mine = course["desk"] / "99_toy.ipynb"
    kept = []
    for text in ("first try", "second try"):
        mine.write_text(text, encoding="utf-8")
        fresh, backup = reset("99", **course)
        kept.append(backup.read_text(encoding="utf-8"))
        assert fresh.read_bytes() == (course["labs"] / "99_toy.ipynb").read_bytes()
    assert kept == ["first try", "second try"]
    assert len(list(course["desk"].glob("*.backup.ipynb"))) == 2


def test_a_lab_that_was_not_started_cannot_be_reset(course):
    with pytest.raises(DeskError, match="python -m workbook start 99"):
        reset("99", **course)


def test_catching_up_fills_in_what_comes_before(course, tmp_path):
    start(**course)
    mine = course["desk"] / "99_toy.ipynb"
    folders = {**course, "solutions": tmp_path / "solutions"}
    assert catch_up("99.2", **folders) == ["99.1"]
    text = "\n".join(sources(mine))
    assert "squares = np.square(x)" in text
    assert "guess = 3" not in text
    assert len(list(course["desk"].glob("*.backup.ipynb"))) == 1
    assert catch_up("99.2", **folders) == []


def test_catching_up_leaves_what_the_learner_wrote(course, tmp_path):
    start(**course)
    mine = course["desk"] / "99_toy.ipynb"
    own = "def mean_square(x):\n    return 3  # mine"
    write(mine, sources(mine).index("def mean_square(x):\n    pass  # your answer"), own)
    assert catch_up("99.3", **course, solutions=tmp_path / "solutions") == ["99.2"]
    assert own in sources(mine)


def test_a_word_is_no_exercise(course, tmp_path):
    with pytest.raises(DeskError, match=r"expected lab and number, such as 07\.4"):
        catch_up("seven", **course, solutions=tmp_path)


def test_what_cannot_be_caught_up_with_is_told_why(course, tmp_path):
    start(**course)
    mine = course["desk"] / "99_toy.ipynb"
    with pytest.raises(DeskError, match=r"has no exercise 99\.8; its last is 99\."):
        catch_up("99.8", **course, solutions=tmp_path / "solutions")
    with pytest.raises(DeskError, match="git restore nowhere"):
        catch_up("99.2", **course, solutions=tmp_path / "nowhere")
    mine.write_text("{", encoding="utf-8")
    with pytest.raises(DeskError, match=r"99_toy\.ipynb cannot be read as a notebook"):
        catch_up("99.2", **course, solutions=tmp_path / "solutions")
    assert mine.read_text(encoding="utf-8") == "{"
