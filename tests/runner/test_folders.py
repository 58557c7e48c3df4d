"""A run gets a folder of its own, and runs/latest points to it."""

import os
from pathlib import Path

import pytest

from workbook.runner.errors import JobError
from workbook.runner.folders import point_latest, prepare_folder
from workbook.runner.journal import Journal


def test_folder_is_named_by_date_and_never_shared(tmp_path):
    first, second = prepare_folder(runs=tmp_path), prepare_folder(runs=tmp_path)
    assert first != second
    assert first.is_dir()
    assert second.parent == tmp_path


@pytest.mark.parametrize(("name", "said"), [("results.csv", "results of another run"), ("a.ipynb", "holds files")])
def test_folder_that_holds_something_is_left_alone(tmp_path, name, said):
    (tmp_path / name).write_text("precious")
    with pytest.raises(JobError, match=said):
        prepare_folder(out=tmp_path)
    assert (tmp_path / name).read_text() == "precious"


def test_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match="cannot be made a folder"):
        prepare_folder(out=tmp_path / "file" / "run")


def test_folder_taken_by_a_simultaneous_run_is_left_to_it(tmp_path):
    folder = prepare_folder(out=tmp_path / "run")
    Journal(folder, [])
    with pytest.raises(JobError, match="taken by another run"):
        Journal(folder, [])


def test_latest_cannot_be_the_folder_itself(tmp_path):
    with pytest.raises(JobError, match="points to the latest run"):
        prepare_folder(out=tmp_path / "latest", runs=tmp_path)


def test_latest_moves_to_the_newest_run(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        point_latest(tmp_path / name, tmp_path)
    assert os.readlink(tmp_path / "latest") == "two"
    assert sorted(os.listdir(tmp_path)) == ["latest", "one", "two"]


def test_latest_is_a_text_file_where_links_are_not_available(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("a privilege is not held")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    (tmp_path / "one").mkdir()
    point_latest(tmp_path / "one", tmp_path)
    assert (tmp_path / "latest").read_text() == "one\n"
