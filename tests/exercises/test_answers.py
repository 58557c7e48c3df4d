"""Every checker of every lab meets right answers of several forms, and the wrong ones that it must tell apart."""

import importlib

import pytest

from workbook.authoring.labs import headings
from workbook.authoring.pairing import read_source
from workbook.exercises.exercise import Outcome
from workbook.exercises.judge import judge
from workbook.exercises.lab import load_lab
from workbook.paths import SOLUTIONS

SOURCES = sorted((SOLUTIONS / "source").glob("*.py"))
NUMBERS = [path.stem.split("_")[0] for path in SOURCES]
SEEDS = (0, 1, 2)


def answers(number):
    return importlib.import_module(f"tests.exercises.answers_{number}")


RIGHT = [(id, n, a) for number in NUMBERS for id, many in answers(number).RIGHT.items() for n, a in enumerate(many)]
WRONG = [(id, n, *w) for number in NUMBERS for id, many in answers(number).WRONG.items() for n, w in enumerate(many)]


def verdict(id, answer, seed):
    arguments = answer if isinstance(answer, tuple) else (answer,)
    return judge(load_lab(id[:2]).exercises[id], arguments, seed=seed)


@pytest.mark.parametrize(("id", "n", "answer"), RIGHT, ids=[f"{id}-{n}" for id, n, _ in RIGHT])
def test_a_right_answer_gets_all_points(id, n, answer):
    for seed in SEEDS:
        found = verdict(id, answer, seed)
        assert found.outcome is Outcome.CORRECT, found.message
        assert found.points == found.out_of


@pytest.mark.parametrize(("id", "n", "answer", "said"), WRONG, ids=[f"{id}-{n}" for id, n, *_ in WRONG])
def test_a_wrong_answer_is_told_why(id, n, answer, said):
    for seed in SEEDS:
        found = verdict(id, answer, seed)
        assert found.outcome is Outcome.WRONG, found
        assert said in found.message
        assert found.points < found.out_of


@pytest.mark.parametrize("number", NUMBERS)
def test_every_exercise_has_enough_answers_to_be_tested_with(number):
    exercises, known = load_lab(number).exercises, answers(number)
    assert list(known.RIGHT) == list(known.WRONG) == list(exercises)
    assert min(map(len, known.RIGHT.values())) >= 2
    assert min(map(len, known.WRONG.values())) >= 3
    assert 5 <= len(exercises) <= 8


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_headings_say_what_the_exercises_are_worth(source):
    announced = [(h.id, h.title, h.points, h.minutes) for h in headings(read_source(source))]
    assert announced == [(e.id, e.title, e.points, e.minutes) for e in load_lab(source.stem.split("_")[0])]
