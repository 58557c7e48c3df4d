"""What a lab's cells show, return and keep."""

import copy
import json

import pytest

from tests import toy_lab
from workbook.bundles import CHECK_MIME
from workbook.exercises import lab
from workbook.exercises.exercise import lab_number


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    monkeypatch.setattr(lab, "load_lab", lambda number: {"99": toy_lab.LAB}[number])
    monkeypatch.setattr(lab, "_open", {})
    monkeypatch.setattr(lab, "display", lambda data, raw: displayed.append(data))
    monkeypatch.chdir(tmp_path)


displayed = []


def shown(call):
    displayed.clear()
    return call(), list(displayed)


@pytest.mark.parametrize(
    ("answer", "points", "line"),
    [
        (lambda x: (x**2).mean(), 2, "✔ 99.1 · correct: the order matters"),
        (lambda x: 1, 0, "✘ 99.1 · not yet: on fresh numbers it gives another value"),
        (lambda x: (x**2).sum(), 1, "✘ 99.1 · not yet, 1 of 2 points: this is the sum"),
        (lambda x: x.maen(), 0, "⚠ 99.1 · error: AttributeError"),
        (None, 0, "· 99.1 · not attempted yet"),
    ],
)
def test_a_check_says_what_it_found_and_is_worth_its_points(answer, points, line):
    value, (data,) = shown(lambda: lab.check("99.1", answer))
    assert value == points
    assert repr(value) == f"{points}.0"
    assert copy.deepcopy(value).out_of == 2
    assert value._repr_html_() == f"<small>{points} of 2 points</small>"
    assert data["text/plain"].startswith(line)
    assert data[CHECK_MIME]["points"] == points
    assert ("hint" in data["text/plain"]) == line.startswith(("✘", "⚠"))


def test_what_a_learner_wrote_is_shown_as_text():
    def answer(x):
        raise ValueError("<b>bold</b>")

    _, (data,) = shown(lambda: lab.check("99.1", answer))
    assert "&lt;b&gt;bold" in data["text/html"]


def test_hints_come_one_by_one_and_the_last_stays():
    lines = [shown(lambda: lab.hint("99.1"))[1][0]["text/plain"] for _ in range(3)]
    assert lines[0] == "Hint 1 of 2 · 99.1: What is squared first?"
    assert lines[1] == lines[2] == "Hint 2 of 2 · 99.1: Square, then take the mean."


def test_the_bar_counts_exercises_and_points():
    shown(lambda: lab.check("99.1", lambda x: (x**2).mean()))
    _, (data,) = shown(lambda: lab.show_progress("99"))
    assert data["text/plain"] == "Lab 99 █░ 1 of 2 exercises, 2 of 3 points"


def test_progress_is_kept_where_a_learner_works_and_nowhere_else(tmp_path):
    shown(lambda: lab.check("99.2", 3))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "progress").mkdir()
    lab._open.clear()
    for answer in (4, 3, 5, None):
        shown(lambda answer=answer: lab.check("99.2", answer))
    shown(lambda: lab.hint("99.2"))
    kept = json.loads((tmp_path / "progress" / "99.json").read_text(encoding="utf-8"))["99.2"]
    assert (kept["best"], kept["attempts"], kept["hints"], kept["outcome"]) == (1, 3, 1, "not yet")
    lab._open.clear()
    _, (data,) = shown(lambda: lab.show_progress("99"))
    assert "1 of 2 exercises, 1 of 3 points" in data["text/plain"]


def test_a_broken_file_of_progress_is_set_aside(tmp_path):
    (tmp_path / "progress").mkdir()
    (tmp_path / "progress" / "99.json").write_text("{", encoding="utf-8")
    shown(lambda: lab.check("99.2", 3))
    (aside,) = (tmp_path / "progress").glob("99-unreadable-*.json")
    assert aside.read_text(encoding="utf-8") == "{"
    assert "99.2" in json.loads((tmp_path / "progress" / "99.json").read_text(encoding="utf-8"))


def test_unknown_exercises_are_named():
    with pytest.raises(LookupError, match=r"no exercise '99\.7'; lab 99 has 99\.1, 99\.2"):
        lab.check("99.7", 1)
    with pytest.raises(ValueError, match="expected chapter and number"):
        lab_number("7.1")
