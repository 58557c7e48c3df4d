"""Tables of progress, of one learner and of a class."""

import json

import nbformat
import pytest

from tests.toy_lab import write_toy_lab
from workbook.bundles import CHECK_MIME
from workbook.exercises.overview import class_report, my_progress


@pytest.fixture
def labs(tmp_path):
    write_toy_lab(tmp_path)
    return tmp_path / "labs"


def hand_in(path, labs, outcomes):
    """Write a returned lab with these outcomes in its check cells."""
    notebook = nbformat.read(labs / "99_toy.ipynb", as_version=4)
    for cell in notebook.cells:
        id = cell.metadata.get("nbgrader", {}).get("grade_id", "").removeprefix("check-").replace("-", ".")
        if id in outcomes:
            outcome, points = outcomes[id]
            bundle = {"id": id, "outcome": outcome, "points": points, "out_of": 2}
            cell.outputs = [nbformat.v4.new_output("display_data", {"text/plain": "", CHECK_MIME: bundle})]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def test_a_learners_table(labs, tmp_path):
    desk = tmp_path / "my_labs"
    (desk / "progress").mkdir(parents=True)
    (desk / "progress" / "99.json").write_text(json.dumps({"99.1": {"best": 2.0, "hints": 1}}), encoding="utf-8")
    (row,) = my_progress(labs, desk)
    assert (row.done, row.exercises, row.points, row.out_of, row.hints, row.started) == (1, 2, 2, 3, 1, False)


def test_a_broken_file_counts_as_none(labs, tmp_path):
    (row,) = my_progress(labs, tmp_path / "nowhere")
    assert (row.done, row.points) == (0, 0)


def test_a_class_is_read_from_folders_or_file_names(labs, tmp_path):
    returned = tmp_path / "returned"
    hand_in(returned / "ann" / "99_toy.ipynb", labs, {"99.1": ("correct", 2), "99.2": ("not yet", 0)})
    hand_in(returned / "ben_99_toy.ipynb", labs, {"99.1": ("correct", 2)})
    hand_in(returned / "ann" / "99_toy.2026-01-01_10-00-00.backup.ipynb", labs, {})
    (returned / "cleo.ipynb").write_text("{", encoding="utf-8")
    (returned / "dan_99_toy.ipynb").write_text("{", encoding="utf-8")
    report = class_report(returned, labs)
    assert [(one.who, one.points, one.outcomes["99.2"]) for one in report.returned] == [
        ("ann", 2, "not yet"),
        ("ben", 2, "not attempted yet"),
    ]
    assert list(report.stops()) == ["99.2", "99.1"]
    assert report.stops()["99.1"]["correct"] == 2
    assert [name for name, _ in report.unread] == ["cleo.ipynb", "dan_99_toy.ipynb"]


def test_an_empty_or_missing_folder_is_told(labs, tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        class_report(tmp_path / "nowhere", labs)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no notebook"):
        class_report(tmp_path / "empty", labs)
