"""The pages about the labs: clocks that add up, exercises that exist, and as much time for them as they announce."""

import re
from datetime import datetime, timedelta

import pytest

from workbook.exercises.lab import load_lab
from workbook.paths import LABS

GUIDE = (LABS / "INSTRUCTORS.md").read_text("utf-8")
HEADER = "| Clock | Minutes | What |"
DAYS = [
    re.findall(r"^\| (\d\d:\d\d) \| (\d+) \| (.+) \|$", table.split("\n\n")[0], re.MULTILINE)
    for table in GUIDE.split(HEADER)[1:]
]


def named(text):
    """Return the lists of exercises that a text offers: ``Lab 04.1 to 04.3`` is one, ``Lab 06.8 or 07.8`` are two."""
    if "Lab " not in text:
        return []
    first, last = re.search(r"Lab (\d\d\.\d)(?: to (\d\d\.\d))?", text).groups()
    if last is None:
        return [[id] for id in re.findall(r"\d\d\.\d", text)]
    assert first[:2] == last[:2]
    return [[f"{first[:3]}{k}" for k in range(int(first[3]), int(last[3]) + 1)]]


def test_there_are_half_a_day_and_two_days():
    assert len(DAYS) == 3
    minutes = [sum(int(row[1]) for row in day) for day in DAYS]
    assert 180 <= minutes[0] <= 240
    assert all(360 <= all_day <= 480 for all_day in minutes[1:])


@pytest.mark.parametrize("day", DAYS, ids=["half", "first", "second"])
def test_the_clock_adds_up(day):
    starts = [datetime.strptime(clock, "%H:%M") for clock, _, _ in day]
    lasts = [timedelta(minutes=int(minutes)) for _, minutes, _ in day]
    assert starts[1:] == [start + last for start, last in zip(starts, lasts, strict=True)][:-1]


@pytest.mark.parametrize("day", DAYS, ids=["half", "first", "second"])
def test_exercises_get_the_minutes_that_they_announce(day):
    planned = [(int(minutes), one) for _, minutes, what in day for one in named(what)]
    assert planned
    for minutes, ids in planned:
        assert minutes >= sum(load_lab(id[:2]).exercises[id].minutes for id in ids), ids


def test_the_table_of_labs_adds_up_their_minutes():
    text = (LABS / "README.md").read_text("utf-8")
    table = {
        number: int(minutes) for number, minutes in re.findall(r"^\| (\d\d) \| .+ \| (\d+) \|$", text, re.MULTILINE)
    }
    assert table == {number: sum(one.minutes for one in load_lab(number)) for number in table}
    assert sorted(table) == [path.stem[:2] for path in sorted(LABS.glob("*.ipynb"))]
