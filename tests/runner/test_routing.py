"""A chapter's number leads to the lesson that has the profile or the parameter that was given."""

import pytest

from workbook.runner.jobs import Request
from workbook.runner.parameters import read_parameters
from workbook.runner.routing import lessons_for, offered_profiles, route

DIGITS = 'profile = "quick"  # type: str\nk = 1  # type: int'
PHOTOGRAPHS = 'profile = "quick"  # type: str quick, public or gpu\ndata_dir = ""  # type: str\nk = 1  # type: int'


@pytest.fixture
def chapters(toy):
    return [
        toy("03_tune", parameters=DIGITS),
        toy("04_tune", parameters=DIGITS),
        toy("04b_photographs", parameters=PHOTOGRAPHS),
    ]


def test_a_lesson_offers_the_profiles_that_its_comment_names(chapters):
    offered = [offered_profiles(read_parameters(path)) for path in chapters]
    assert offered == [("quick",), ("quick",), ("quick", "public", "gpu")]


@pytest.mark.parametrize("given", [{"profile": "public"}, {"data_dir": "pictures"}, {"data_dir": "pictures", "k": 5}])
def test_a_number_leads_to_the_lesson_that_can_do_it(chapters, given):
    (request,), (said,) = route([Request("4")], given, chapters)
    assert request.notebook == str(chapters[2])
    assert "04b_photographs; it is run" in said


@pytest.mark.parametrize("given", [{}, {"k": 5}, {"profile": "quick"}, {"sed": 3}])
def test_a_number_stays_where_its_lesson_can_or_no_lesson_can(chapters, given):
    assert route([Request("04")], given, chapters) == ([Request("04")], [])


def test_parameters_and_grid_of_the_request_count_and_are_kept(chapters):
    asked = Request("04", {"data_dir": "pictures"}, {"profile": ["public", "gpu"]}, "mine")
    (request,), _ = route([asked], {}, chapters)
    assert request == Request(str(chapters[2]), asked.parameters, asked.grid, "mine")


@pytest.mark.parametrize("name", ["04_tune", "04b", "99", "elsewhere.ipynb"])
def test_only_a_bare_number_is_replaced(chapters, name):
    assert route([Request(name)], {"profile": "public"}, chapters) == ([Request(name)], [])


def test_a_number_stays_where_two_lessons_could_be_meant(chapters, toy):
    both = [*chapters, toy("04c_more", parameters=PHOTOGRAPHS)]
    assert route([Request("04")], {"profile": "public"}, both) == ([Request("04")], [])


def test_all_lessons_of_a_profile(chapters):
    assert lessons_for("public", chapters) == chapters[2:]
    assert lessons_for(None, chapters) == lessons_for("misspelt", chapters) == chapters
