"""Answers are judged safely: blank, right, wrong, broken, endless, or of a kind nobody asked for."""

import random
import time

import numpy as np
import pytest
import torch

from workbook.exercises.exercise import Lab, NotAttempted, Outcome, Wrong
from workbook.exercises.judge import judge
from workbook.exercises.values import as_array, as_number, from_set, is_blank, is_close, must_return

LAB = Lab("99")


@LAB.exercise(
    "99.1",
    "The mean of squares",
    minutes=3,
    points=2,
    expects="a function of an array that returns a number",
    hints=["What is squared first?", "`x**2`, then the mean."],
    seconds=0.5,
)
def _(draw, answer):
    x = draw.normal(size=50)
    value = as_number(must_return(answer(x.copy())))
    if is_close(value, x.mean() ** 2):
        raise Wrong("this squares the mean", share=0.5)
    if not is_close(value, (x**2).mean()):
        raise Wrong("on fresh numbers it gives another value than the mean of squares")
    return "the order matters"


EXERCISE = LAB.exercises["99.1"]


def verdict(*answers, seed=None):
    return judge(EXERCISE, answers, seed=seed)


def stub(x):
    """Return the mean of squares."""
    pass


@pytest.mark.parametrize("blank", [None, ..., "", "  ", stub])
def test_nothing_written_is_not_attempted(blank):
    assert is_blank(blank)
    assert verdict(blank).outcome is Outcome.NOT_ATTEMPTED
    assert verdict().outcome is Outcome.NOT_ATTEMPTED


@pytest.mark.parametrize("something", [0, 0.0, False, [], "a", np.zeros(3), lambda x: 3, lambda x: x, len, dict])
def test_everything_else_is_an_attempt(something):
    assert not is_blank(something)


@pytest.mark.parametrize(
    "right",
    [
        lambda x: (x**2).mean(),
        lambda x: sum(v * v for v in x) / len(x),
        lambda x: torch.from_numpy(x).square().mean(),
        lambda x: [np.mean(np.square(x))],
    ],
)
def test_right_answers_of_any_form(right):
    found = verdict(right)
    assert (found.outcome, found.points, found.message) == (Outcome.CORRECT, 2, "the order matters")


@pytest.mark.parametrize(
    ("answer", "points", "said"),
    [
        (lambda x: x.mean() ** 2, 1, "this squares the mean"),
        (lambda x: 1.0, 0, "on fresh numbers"),
        (lambda x: x, 0, "expected a single number, got 50"),
        (lambda x: print(end=""), 0, "is the `return` missing?"),
        (lambda x: float("nan"), 0, "expected a finite number"),
        (lambda x: "one", 0, "expected numbers, got str"),
        (0.97, 0, "expected a function of an array that returns a number; this could not be used as one"),
    ],
)
def test_wrong_answers_are_told_why(answer, points, said):
    found = verdict(answer)
    assert (found.outcome, found.points) == (Outcome.WRONG, points)
    assert said in found.message


def test_an_exception_is_shown_with_the_learners_own_line():
    def answer(x):
        squares = x**2
        return squares.maen()

    found = verdict(answer)
    assert found.outcome is Outcome.ERROR
    first, line = found.message.splitlines()
    assert first.startswith("AttributeError: 'numpy.ndarray' object has no attribute 'maen'")
    assert line.endswith("of your code: return squares.maen()")


def test_an_exception_below_a_library_shows_the_line_that_called_it():
    def answer(x):
        return np.reshape(x, (7, 7))

    found = verdict(answer)
    assert found.message.splitlines()[1:] == [found.message.splitlines()[-1]]
    assert "np.reshape(x, (7, 7))" in found.message


def test_an_endless_loop_is_stopped():
    def answer(x):
        while True:
            x = x + 0

    began = time.perf_counter()
    found = verdict(answer)
    assert found.outcome is Outcome.WRONG
    assert "still running after 0.5 seconds" in found.message
    assert time.perf_counter() - began < 3


def test_a_loop_that_catches_exceptions_is_stopped():
    def answer(x):
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                continue

    assert "still running" in verdict(answer).message


def test_a_checker_may_say_that_nothing_was_attempted():
    lab = Lab("98")

    @lab.exercise("98.1", "t", minutes=1, points=1, expects="x", hints=["a", "b"])
    def _(draw, answer):
        raise NotAttempted

    assert judge(lab.exercises["98.1"], ([],)).outcome is Outcome.NOT_ATTEMPTED


def test_the_learners_objects_and_random_numbers_are_left_alone(capsys):
    lab = Lab("98")

    @lab.exercise("98.1", "t", minutes=1, points=1, expects="x", hints=["a", "b"])
    def _(draw, table, network):
        table["rows"].append(4)
        with torch.no_grad():
            network.weight.zero_()
        random.random(), np.random.random(), torch.rand(1)
        return ""

    table, network = {"rows": [1]}, torch.nn.Linear(2, 1)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert judge(lab.exercises["98.1"], (table, network)).outcome is Outcome.CORRECT
    assert table == {"rows": [1]}
    assert network.weight.abs().sum() > 0
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states


def test_nothing_reaches_stderr(capsys):
    import sys
    import warnings

    def answer(x):
        warnings.warn("careful", stacklevel=1)
        print("noise", file=sys.stderr)
        return (x**2).mean()

    assert verdict(answer).outcome is Outcome.CORRECT
    assert capsys.readouterr().err == ""


def test_numbers_come_from_any_container():
    assert as_array(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
    assert as_array([[1, 2]]).shape == (1, 2)
    assert from_set({3, 1, 2}) == [1, 2, 3]
    assert from_set((3, 1)) == (3, 1)
    assert not is_close([1, 2], [[1, 2]])
    assert not is_close([1, np.nan], [1, 2])


def test_exercises_come_in_order_with_two_or_three_hints():
    lab = Lab("98")
    with pytest.raises(ValueError, match=r"expected '98\.1', the next one"):
        lab.exercise("98.2", "t", minutes=1, points=1, expects="x", hints=["a", "b"])
    with pytest.raises(ValueError, match="1 hints, expected two or three"):
        lab.exercise("98.1", "t", minutes=1, points=1, expects="x", hints=["a"])
