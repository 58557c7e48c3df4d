"""The labs are nbgrader assignments: its release of the solutions is the labs, and it grades what learners hand in."""

import copy
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock

from data_scripts.cache import cache_location
from workbook.authoring.labs import headings
from workbook.paths import LABS, SOLUTIONS

VERSION = "0.9.6"
NAMES = sorted(path.stem for path in LABS.glob("*.ipynb"))
GRADED = "02_mathematics"


@pytest.fixture(scope="module")
def nbgrader():
    """A function that runs nbgrader, which lives in an environment of its own, in a folder."""
    home = cache_location() / f"nbgrader-{VERSION}"
    done = home / "installed"
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):  # several workers of pytest may get here
        if not done.is_file():
            subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True, timeout=120)
            install = [home / "bin" / "python", "-m", "pip", "install", "--quiet", f"nbgrader=={VERSION}"]
            installed = subprocess.run(install, capture_output=True, text=True, timeout=600)
            if installed.returncode:
                pytest.skip(f"nbgrader {VERSION} could not be installed: {installed.stderr[-300:]}")
            done.touch()

    def run(folder: Path, *arguments: str) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PYTHON"))}
        environment |= {
            "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "JUPYTER_PATH": str(folder / "kernels"),
        }
        command = [home / "bin" / "nbgrader", *arguments]
        ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, ran.stderr[-3000:]
        return ran.stderr

    return run


@pytest.fixture(scope="module")
def course(tmp_path_factory, nbgrader):
    """A course of nbgrader's with every lab as an assignment, released."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "nbgrader_config.py").write_bytes((SOLUTIONS / "nbgrader_config.py").read_bytes())
    for name in NAMES:
        source = folder / "source" / name
        source.mkdir(parents=True)
        (source / f"{name}.ipynb").write_bytes((SOLUTIONS / f"{name}.ipynb").read_bytes())
        nbgrader(folder, "generate_assignment", name)
    kernel = folder / "kernels" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": start, "display_name": "Python 3", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    return folder


def comparable(notebook):
    """What a release and a lab must share: all but the checksums that nbgrader adds."""
    cells = []
    for cell in notebook.cells:
        metadata = copy.deepcopy(dict(cell.metadata))
        metadata.get("nbgrader", {}).pop("checksum", None)
        cells.append((cell.id, cell.cell_type, cell.source, metadata, cell.get("outputs")))
    return cells


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_release_is_the_lab(course, name):
    release = nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4)
    lab = nbformat.read(LABS / f"{name}.ipynb", as_version=4)
    assert comparable(release) == comparable(lab)


def hand_in(course, who, upto):
    """Hand the lab in with the exercises up to a number solved."""
    notebook = nbformat.read(course / "release" / GRADED / f"{GRADED}.ipynb", as_version=4)
    solution = nbformat.read(SOLUTIONS / f"{GRADED}.ipynb", as_version=4)
    solved = {cell.metadata.nbgrader.grade_id: cell.source for cell in solution.cells if "nbgrader" in cell.metadata}
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if grade_id.startswith("answer-") and int(grade_id.split("-")[2]) <= upto:
            cell.source = solved[grade_id]
    folder = course / "submitted" / who / GRADED
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{GRADED}.ipynb")


@pytest.mark.slow
def test_solution_half_and_untouched_lab_are_graded_for_what_they_are(course, nbgrader):
    points = [one.points for one in headings(nbformat.read(LABS / f"{GRADED}.ipynb", as_version=4))]
    half = len(points) // 2
    for who, upto in (("all", len(points)), ("half", half), ("none", 0)):
        hand_in(course, who, upto)
    nbgrader(course, "autograde", GRADED)
    nbgrader(course, "export")
    with (course / "grades.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["assignment"] == GRADED]
    scores = {row["student_id"]: float(row["score"]) for row in rows}
    assert scores == {"all": sum(points), "half": sum(points[:half]), "none": 0}
