"""The environment that make sets up: when it is made, kept, and made again. Nothing is installed here."""

import os
import subprocess
import sys
import tomllib

import pytest
from packaging.specifiers import SpecifierSet

from workbook import environment
from workbook.environment import SetupError, can_be_trusted, check_python, describe, is_current, make_environment
from workbook.paths import ROOT


@pytest.fixture
def root(tmp_path):
    """A project with an environment that was completed after its pins were last changed."""
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).write_text("six==1.17.0\n")
        os.utime(tmp_path / name, (100, 100))
    packages = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    os.utime(packages, (210, 210))
    (tmp_path / ".venv" / "bin").mkdir()
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    mark(tmp_path, ".installed", 200)
    return tmp_path


def mark(root, name, seconds):
    (root / ".venv" / name).touch()
    os.utime(root / ".venv" / name, (seconds, seconds))


@pytest.fixture
def pip(monkeypatch):
    """Stands in for pip: records its calls and does what the test tells it to."""
    calls = []

    def install(python, root):
        calls.append(root)
        if error := pip.error:
            raise error

    pip = type("Pip", (), {"calls": calls, "error": None})
    monkeypatch.setattr(environment, "_install", install)
    return pip


def test_a_completed_environment_is_left_alone(root, pip):
    make_environment(root)
    assert pip.calls == []


@pytest.mark.parametrize("changed", ["requirements.txt", "pyproject.toml"])
def test_a_change_of_what_is_asked_for_is_installed_once(root, pip, changed):
    os.utime(root / changed, (300, 300))
    assert not is_current(root)
    make_environment(root)
    make_environment(root)
    assert pip.calls == [root]
    assert is_current(root)
    assert not (root / ".venv" / ".installing").exists()


def test_a_change_made_during_the_installation_is_installed_next_time(root, monkeypatch):
    monkeypatch.setattr(environment, "_install", lambda python, root: os.utime(root / "requirements.txt"))
    os.utime(root / "requirements.txt", (300, 300))
    make_environment(root)
    assert not is_current(root)


def test_a_failure_is_no_completed_environment(root, pip):
    os.utime(root / "requirements.txt", (300, 300))
    pip.error = SetupError("no network")
    with pytest.raises(SetupError, match="no network"):
        make_environment(root)
    assert not is_current(root)


def test_an_installation_cut_short_is_not_trusted(root):
    mark(root, ".installing", 205)  # packages were touched after it
    assert not can_be_trusted(root / ".venv")


def test_an_installation_that_failed_before_it_touched_a_package_leaves_a_good_environment(root):
    mark(root, ".installing", 220)
    assert can_be_trusted(root / ".venv")


def test_an_environment_that_a_person_made_is_kept(root, pip):
    (root / ".venv" / ".installed").unlink()
    theirs = root / ".venv" / "theirs"
    theirs.touch()
    make_environment(root)
    assert pip.calls == [root]
    assert theirs.exists()


def test_an_environment_whose_python_is_gone_is_not_trusted(root):
    (root / ".venv" / "bin" / "python").unlink()
    (root / ".venv" / "bin" / "python").symlink_to(root / "no such python")
    assert not can_be_trusted(root / ".venv")


def test_supported_versions_are_those_of_the_project():
    supported = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"])
    for minor in range(6, 20):
        if supported.contains(f"3.{minor}.5"):
            check_python((3, minor))
        else:
            with pytest.raises(SetupError, match=f"is 3.{minor}"):
                check_python((3, minor))


def test_an_unsupported_python_gets_the_command_to_give(monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda name: "found" if name == "python3.12" else None)
    with pytest.raises(SetupError, match=r"needs Python 3\.11 to 3\.13, and old is 3\.9.*make run PYTHON=python3\.12"):
        check_python((3, 9), "old")


def test_an_environment_of_an_unsupported_python_is_refused(root, monkeypatch):
    os.utime(root / "requirements.txt", (300, 300))
    done = subprocess.CompletedProcess([], 0, stdout="3 9\n")
    monkeypatch.setattr(environment.subprocess, "run", lambda *args, **keywords: done)
    with pytest.raises(SetupError, match=r"\.venv holds Python 3\.9.*delete \.venv"):
        make_environment(root)


def test_progress_names_what_pip_is_at():
    lines = ["Collecting absl-py==2.5.1\n", "Collecting torch==2.15.0\n"]
    assert describe(lines, 190) == "package 2 of at most 190"
    lines.append("  Downloading torch-2.15.0-cp311-cp311-manylinux_2_28_x86_64.whl (880.1 MB)\n")
    assert describe(lines, 190) == "package 2 of at most 190: torch (880.1 MB)"
    lines.append("Installing collected packages: absl-py, torch\n")
    assert describe(lines, 190) == "unpacking 2 packages"
