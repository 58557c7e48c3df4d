"""A job file is read into requests, or refused with the place of each mistake."""

import pytest

from workbook.runner.errors import JobError
from workbook.runner.jobfile import JobFile, read_job_file
from workbook.runner.jobs import Request, plan_jobs


@pytest.fixture
def read(tmp_path):
    def read_text(text: str) -> JobFile:
        path = tmp_path / "jobs.yaml"
        path.write_text(text)
        return read_job_file(path)

    return read_text


def test_notebooks_share_parameters_grid_and_seeds(read):
    file = read("""
name: 01-reference-grid
notebooks: ["01", 02_next]
parameters: {draws: 1}
grid: {k: [1, 5]}
seeds: [0, 1, 2]
""")
    grid = {"k": [1, 5], "seed": [0, 1, 2]}
    assert file == JobFile(
        "01-reference-grid", [Request("01", {"draws": 1}, grid), Request("02_next", {"draws": 1}, grid)]
    )


def test_named_entry_names_its_jobs(read, good):
    file = read("""
jobs:
- {name: short, notebook: "01", parameters: {seed: 1}}
- {name: long, notebook: "01", parameters: {seed: 2}, grid: {k: [1, 5]}}
""")
    jobs = plan_jobs(file.requests, known=[good])
    assert [job.id for job in jobs] == ["short", "long-k=1", "long-k=5"]


def test_name_that_is_no_file_name_is_refused(read):
    with pytest.raises(JobError, match=r"'jobs\[0\]\.name': expected a folder name"):
        read("jobs: [{name: a/b, notebook: '01'}]")


def test_entries_of_jobs_win_over_the_top_level(read):
    file = read("""
parameters: {draws: 1, k: 1}
seeds: [0, 1]
jobs:
- {notebook: "01", parameters: {draws: 10}}
- {notebook: "02", seeds: [7], grid: {k: [5]}}
""")
    assert file.name is None
    assert file.requests == [
        Request("01", {"draws": 10, "k": 1}, {"seed": [0, 1]}),
        Request("02", {"draws": 1, "k": 1}, {"k": [5], "seed": [7]}),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notebook: ['01']\nnotebooks: ['01']", "unknown key 'notebook' (did you mean 'notebooks'?)"),
        ("jobs: [{notebook: '01', sedes: [1]}]", "unknown key 'jobs[0].sedes' (did you mean 'seeds'?)"),
        ("name: x", "expected either 'notebooks' or 'jobs'"),
        ("notebooks: ['01']\njobs: [{notebook: '01'}]", "expected either 'notebooks' or 'jobs'"),
        ("notebooks: '01'", "'notebooks': expected a list of at least one"),
        ("notebooks: [010]", "'notebooks[0]': expected text, got int 8; write it in quotes"),
        ("jobs: [01]", "jobs[0]: expected a mapping with 'notebook', got int 1"),
        ("jobs: [{seeds: [1]}]", "'jobs[0].notebook': expected text, got nothing"),
        ("notebooks: ['01']\ngrid: {k: 5}", "'grid.k': expected a list of at least one value"),
        ("notebooks: ['01']\ngrid: {k: []}", "'grid.k': expected a list of at least one value"),
        ("notebooks: ['01']\nseeds: 3", "'seeds': expected a list of at least one, for example [0, 1, 2], got int 3"),
        ("notebooks: ['01']\nseeds: [zero]", "'seeds': expected whole numbers"),
        ("notebooks: ['01']\nparameters: [1]", "'parameters': expected names and values"),
        ("notebooks: ['01']\ngrid: {seed: [1]}\nseeds: [2]", "gets 'seed' from the grid and from seeds"),
        ("notebooks: ['01']\nname: ../up", "'name': expected a folder name"),
        ("notebooks: ['01'", "is not valid YAML"),
        ("", "expected a mapping with name, notebooks"),
    ],
)
def test_mistake_is_named_with_its_place(read, text, said):
    with pytest.raises(JobError) as caught:
        read(text)
    assert said in str(caught.value)


def test_missing_job_file_is_named(tmp_path):
    with pytest.raises(JobError, match=r"none\.yaml: No such file"):
        read_job_file(tmp_path / "none.yaml")


def test_number_that_yaml_reads_as_text_is_explained(good, tmp_path):
    path = tmp_path / "jobs.yaml"
    path.write_text(f"notebooks: ['{good}']\nparameters: {{rate: 1e-3}}\n")
    with pytest.raises(JobError, match=r"write 1\.0e-3"):
        plan_jobs(read_job_file(path).requests)
