"""What is asked for becomes jobs, or one error with every mistake."""

import pytest

from workbook.runner.errors import JobError
from workbook.runner.jobs import Request, plan_jobs
from workbook.runner.notebooks import find_notebook
from workbook.runner.parameters import parse_assignment


def problems(*arguments, **keywords) -> list[str]:
    with pytest.raises(JobError) as caught:
        plan_jobs(*arguments, **keywords)
    return caught.value.problems


@pytest.fixture
def chapters(toy):
    return [toy("01_concepts"), toy("04_adapt"), toy("04b_adapt_more")]


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("01", "01_concepts"),
        ("1", "01_concepts"),
        ("04", "04_adapt"),
        ("4b", "04b_adapt_more"),
        ("04_adapt", "04_adapt"),
    ],
)
def test_number_or_stem_names_a_notebook(chapters, text, stem):
    assert find_notebook(text, chapters).stem == stem


def test_path_names_a_notebook_outside_the_known_ones(chapters):
    assert find_notebook(str(chapters[0]), known=[]) == chapters[0].resolve()


@pytest.mark.parametrize("text", ["01_concept", "chapters/01_concept.ipynb"])
def test_unknown_notebook_names_the_nearest_and_the_known(chapters, text):
    (problem,) = problems([Request(text)], known=chapters)
    assert f"unknown notebook {text!r} (did you mean '01_concepts'?)" in problem
    assert "04b_adapt_more" in problem


def test_missing_path_is_not_replaced_by_a_chapter_of_the_same_name(chapters):
    with pytest.raises(LookupError, match=r"unknown notebook 'elsewhere/01_concepts\.ipynb'"):
        find_notebook("elsewhere/01_concepts.ipynb", chapters)


def test_number_of_two_notebooks_is_ambiguous(toy):
    with pytest.raises(LookupError, match="fits several"):
        find_notebook("1", [toy("01_a"), toy("01_b")])


def test_broken_file_is_named(tmp_path):
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{")
    (problem,) = problems([Request(str(broken))])
    assert "broken.ipynb: is not a notebook" in problem


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=1", 1), ("a=0.5", 0.5), ("a=[1, 5]", [1, 5]), ("a=True", True), ("a=resnet18", "resnet18"), ("a=x=y", "x=y")],
)
def test_value_is_a_literal_or_else_text(text, value):
    assert parse_assignment(text) == ("a", value)


@pytest.mark.parametrize("assignment", ["k=3", "rate=1", "rate=0.5", "ks=['a']", "gpu_on_cpu=True", "profile=public"])
def test_fitting_value_is_taken(good, assignment):
    (job,) = plan_jobs([Request(str(good))], [assignment])
    name, value = parse_assignment(assignment)
    assert job.parameters == {name: value}
    assert job.id == "01_good"


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("k=three", "parameter 'k' expects int, got str 'three'; for example -p k=1"),
        ("k=True", "parameter 'k' expects int, got bool True"),
        ("k=1.0", "parameter 'k' expects int, got float 1.0"),
        ("rate=fast", "parameter 'rate' expects float, got str 'fast'"),
        ("gpu_on_cpu=1", "parameter 'gpu_on_cpu' expects bool, got int 1"),
        ("ks=5", "parameter 'ks' expects list, got int 5; for example -p 'ks=[1, 5]'"),
        ("profile=3", "parameter 'profile' expects str, got int 3"),
        ("profile=quik", "unknown profile 'quik': expected one of 'quick'"),
        ("sed=3", "has no parameter 'sed' (did you mean 'seed'?). It has: profile, seed"),
        ("k", "-p k: expected name=value"),
        ("k=None", "parameter 'k' expects int, got NoneType None"),
    ],
)
def test_value_that_does_not_fit_is_refused(good, assignment, said):
    (problem,) = problems([Request(str(good))], [assignment])
    assert said in problem


def test_all_mistakes_of_all_jobs_come_at_once(good, toy):
    other = toy("02_other", kernel="julia-9")
    found = problems([Request(str(good)), Request("99"), Request(str(other))], ["k=x"], profile="huge")
    assert sum("expects int" in problem for problem in found) == 2
    assert sum("unknown profile 'huge'" in problem for problem in found) == 2
    assert any("02_other: needs the kernel 'julia-9', installed: " in problem for problem in found)
    assert any("unknown notebook '99'" in problem for problem in found)


def test_notebook_without_parameters_cell_takes_none(toy):
    path = str(toy("03_plain", parameters=None))
    assert plan_jobs([Request(path)])[0].parameters == {}
    (problem,) = problems([Request(path)], ["k=1"])
    assert "no cell tagged 'parameters'" in problem


def test_type_comes_from_the_default_without_comment(toy):
    path = str(toy("03_plain", parameters="draws = 3"))
    (problem,) = problems([Request(path)], ["draws=many"])
    assert "'draws' expects int" in problem


def test_profile_given_twice_differently_is_refused(good):
    (problem,) = problems([Request(str(good))], ["profile=gpu"], profile="public")
    assert "given twice" in problem


def test_grid_is_crossed_into_readable_ids(good):
    request = Request(str(good), {"rate": 0.5}, {"k": [1, 5], "seed": [0, 1]})
    jobs = plan_jobs([request])
    assert [job.id for job in jobs] == [f"01_good-k={k}-seed={seed}" for k in (1, 5) for seed in (0, 1)]
    assert jobs[3].parameters == {"rate": 0.5, "k": 5, "seed": 1}


def test_grid_values_are_checked(good):
    (problem,) = problems([Request(str(good), grid={"k": [1, "many"]})])
    assert "'k' expects int, got str 'many'" in problem


def test_parameter_both_set_and_crossed_is_refused(good):
    (problem,) = problems([Request(str(good), grid={"k": [1, 5]})], ["k=3"])
    assert "both set and crossed" in problem


def test_ids_are_unique_and_safe_as_file_names(toy):
    path = str(toy("01_x", parameters='text = "a"\nks = [1]'))
    texts = ["a/b", "a:b", "../up", "A", "a", "x" * 300, "x" * 301]
    ids = [job.id for job in plan_jobs([Request(path, grid={"text": texts, "ks": [[1, 5]]})])]
    assert len({job_id.lower() for job_id in ids}) == len(texts)
    assert all(len(job_id) < 150 and not set(job_id) & set('/\\:*?"<>| ') for job_id in ids)


def test_jobs_of_one_notebook_are_told_apart_by_their_parameters(good):
    jobs = plan_jobs([Request(str(good), {"k": 1}), Request(str(good), {"k": 5})])
    assert [job.id for job in jobs] == ["01_good-k=1", "01_good-k=5"]


def test_notebooks_of_one_name_are_told_apart_by_their_folders(good, tmp_path):
    copy = tmp_path / "solutions" / good.name
    copy.parent.mkdir()
    copy.write_bytes(good.read_bytes())
    assert [job.id for job in plan_jobs([Request(str(good)), Request(str(copy))])] == [
        "toys-01_good",
        "solutions-01_good",
    ]


def test_job_listed_twice_is_refused(good):
    (problem,) = problems([Request(str(good)), Request(str(good))])
    assert "01_good is listed 2 times" in problem


def test_no_notebooks_is_an_error():
    (problem,) = problems([], known=[])
    assert "no notebooks to run" in problem
