"""Building a notebook from its text: what is written, what a second build changes, and what a failure leaves."""

import subprocess
import sys

import nbformat
import psutil
import pytest
from click.testing import CliRunner

from tests.toy_notebooks import TOY_SOURCE, toy_pair
from workbook.authoring import execution, pairing
from workbook.authoring.building import BuildError, build_pair, rewrite_prose
from workbook.authoring.gate import gate
from workbook.bundles import RECORD_MIME
from workbook.commands.build import build
from workbook.paths import ROOT


def read(pair):
    return nbformat.read(pair.notebook, as_version=nbformat.NO_CONVERT)


def without_records(notebook):
    for cell in notebook.cells:
        cell.outputs = [out for out in cell.get("outputs", []) if RECORD_MIME not in out.get("data", {})]
    return notebook


def test_a_build_writes_a_notebook_that_passes_the_gate(tmp_path):
    built = build_pair(toy_pair(tmp_path), cwd=tmp_path)
    assert (built.claims, built.records) == (5, 1)
    assert gate(tmp_path) == []


def test_changed_prose_is_taken_over_without_running(tmp_path):
    pair = toy_pair(tmp_path)
    build_pair(pair, cwd=tmp_path)
    built = read(pair)
    with pair.source.open("a", encoding="utf-8") as text:
        text.write("\n# %% [markdown]\n# A last word.\n")

    assert rewrite_prose(pair) == 1
    assert read(pair).cells[-1].source == "A last word."
    assert [cell for cell in read(pair).cells if cell.cell_type == "code"] == [
        cell for cell in built.cells if cell.cell_type == "code"
    ]
    assert gate(tmp_path) == []


def test_changed_code_cannot_keep_its_outputs(tmp_path):
    pair = toy_pair(tmp_path)
    build_pair(pair, cwd=tmp_path)
    before = pair.notebook.read_bytes()
    with pair.source.open("a", encoding="utf-8") as text:
        text.write("\n# %%\nprint(1)\n")

    with pytest.raises(BuildError, match="code has changed"):
        rewrite_prose(pair)
    assert pair.notebook.read_bytes() == before


def test_prose_needs_a_notebook(tmp_path):
    with pytest.raises(BuildError, match="no notebook yet"):
        rewrite_prose(toy_pair(tmp_path))


LESSON_CELLS = """
# %%
from workbook.lesson import begin, claim, record, record_table

begin(profile=profile, seed=seed)

# %%
claim("00.lesson", "the helpers write what the gate reads", True)
claim("00.scope", "a claim may lie out of scope", True, scope=False)

# %%
record("00.share", [0.84, 0.86], expected=(0.8, 0.9))
record("00.time", 3.7, unit="s", digits=0)
record_table("00.table", {"1": {"probe": [0.81, 0.83], "scratch": [0.4, 0.5]}, "5": {"probe": [0.93, 0.94]}})
"""


def test_claims_and_records_of_the_lesson_helpers_pass_the_gate(tmp_path):
    built = build_pair(toy_pair(tmp_path, TOY_SOURCE + LESSON_CELLS), cwd=tmp_path)
    assert (built.claims, built.records) == (7, 6)


def test_a_second_build_changes_only_records(tmp_path):
    pair = toy_pair(tmp_path)
    build_pair(pair, cwd=tmp_path)
    first = read(pair)
    build_pair(pair, cwd=tmp_path)
    second = read(pair)
    assert second != first, "the toy's clock differs in each run, so its record must have changed"
    assert without_records(second) == without_records(first)
    assert len(list(pair.notebook.parent.iterdir())) == 2, "no temporary file is left"


def test_the_kernel_runs_in_the_given_folder(tmp_path):
    (tmp_path / "here.txt").write_text("found")
    pair = toy_pair(tmp_path, f"{TOY_SOURCE}\n# %%\nprint(open('here.txt').read())\n")
    build_pair(pair, cwd=tmp_path)
    assert read(pair).cells[-1].outputs[0].text == "found\n"


def test_prints_of_one_cell_become_one_output(tmp_path):
    pair = toy_pair(tmp_path, f"{TOY_SOURCE}\n# %%\nfor i in range(3):\n    print(i, flush=True)\n")
    build_pair(pair, cwd=tmp_path)
    assert [output.text for output in read(pair).cells[-1].outputs] == ["0\n1\n2\n"]


@pytest.mark.parametrize(
    ("cell", "messages"),
    [
        ("x = 3\n1 / (x - 3)", ["cell 12 failed:", "    1 / (x - 3)", "ZeroDivisionError: division by zero"]),
        ("claim('00.no', 'pigs fly', False)", ["cell 12 failed:", "AssertionError: Claim 00.no · pigs fly"]),
        ("import os\nos._exit(1)", ["cell 12 failed:", "os._exit(1)", "The kernel died"]),
        ("import warnings\nwarnings.warn('old')", ["cell 12 (`import warnings`) wrote to stderr", "UserWarning: old"]),
        ("import os\nprint(os.getcwd())", ["cell 12 (`import os`) shows a machine path"]),
        ("object()", ["cell 12 (`object()`) shows a memory address"]),
        ("\n".join(["x = 1"] * 31), ["cell 12 (`x = 1`) has 31 lines"]),
    ],
)
def test_a_failing_build_names_the_cell_and_leaves_the_old_notebook(tmp_path, cell, messages):
    pair = toy_pair(tmp_path, f"{TOY_SOURCE}\n# %%\n{cell}\n")
    pair.notebook.write_text("the old notebook")
    with pytest.raises(BuildError) as error:
        build_pair(pair, cwd=tmp_path)
    assert str(error.value).startswith("chapters/00_toy.ipynb: ")
    for message in messages:
        assert message in str(error.value)
    assert pair.notebook.read_text() == "the old notebook"
    assert len(list(pair.notebook.parent.iterdir())) == 2, "no temporary file is left"


def test_ctrl_c_ends_the_build_and_its_kernel(tmp_path):
    # The kernel's parent is this process: the cell presses Ctrl-C for us.
    cell = "import os, signal, time\nos.kill(os.getppid(), signal.SIGINT)\ntime.sleep(60)"
    pair = toy_pair(tmp_path, f"{TOY_SOURCE}\n# %%\n{cell}\n")
    before = set(psutil.Process().children())
    with pytest.raises(KeyboardInterrupt):
        build_pair(pair, cwd=tmp_path)
    assert set(psutil.Process().children()) == before
    assert not pair.notebook.exists()


def test_a_missing_kernel_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "KERNEL", "nosuch")
    with pytest.raises(BuildError, match=r"no Jupyter kernel named nosuch; run `.* -m ipykernel install"):
        build_pair(toy_pair(tmp_path), cwd=tmp_path)


# The text


def test_cell_ids_are_valid_stable_and_unique(tmp_path):
    source = TOY_SOURCE + "\n# %%\nx = 1\n\n# %%\nx = 1\n"
    ids = [cell.id for cell in pairing.read_source(toy_pair(tmp_path, source).source).cells]
    assert len(set(ids)) == len(ids)
    edited = source.replace('"numbers:"', '"figures:"')
    changed = [cell.id for cell in pairing.read_source(toy_pair(tmp_path, edited).source).cells]
    assert sum(a != b for a, b in zip(ids, changed, strict=True)) == 1


@pytest.mark.parametrize("header", ["", pairing.HEADER.replace("name: python3", "name: conda-env")])
def test_a_text_with_another_header_is_refused_with_the_right_one(tmp_path, header):
    pair = toy_pair(tmp_path, TOY_SOURCE.replace(pairing.HEADER, header))
    with pytest.raises(BuildError, match="start the file with:\n# ---"):
        build_pair(pair, cwd=tmp_path)


def test_ruff_format_leaves_the_cells_of_a_text_alone(tmp_path):
    # Tags in markers, markdown tables and magics must survive the formatter; code may be re-spaced by it once.
    source = TOY_SOURCE + "\n# %%\n# %matplotlib inline\n# a comment at the end of a cell\n"
    formatted, again = (tmp_path / name for name in ("formatted.py", "again.py"))
    for path in (formatted, again):
        path.write_text(source, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff", "format", "--config", str(ROOT / "pyproject.toml")]
    subprocess.run([*ruff, str(formatted)], check=True, capture_output=True)
    assert pairing.disagreements(pairing.read_source(again), pairing.read_source(formatted)) == []


# Names and the command


@pytest.fixture
def pairs(tmp_path):
    return [toy_pair(tmp_path), toy_pair(tmp_path, stem="01_more")]


@pytest.mark.parametrize(
    "name",
    [
        "00_toy",
        "00",
        "00_toy.ipynb",
        "chapters/00_toy",
        "chapters/00_toy.ipynb",
        "chapters/source/00_toy.py",
        "source/00_toy.py",
    ],
)
def test_a_pair_is_named_in_these_ways(pairs, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path / "chapters" if name.startswith("source") else tmp_path)
    assert pairing.select_pairs(pairs, [name]) == pairs[:1]


def test_no_name_means_all_pairs(pairs):
    assert pairing.select_pairs(pairs, []) == pairs


@pytest.mark.parametrize("name", ["00_tou", "solutions/00_toy", "00_toy.md"])
def test_an_unknown_name_is_refused_with_those_that_exist(pairs, name):
    with pytest.raises(pairing.PairingError, match=r"there are: chapters/00_toy.ipynb, chapters/01_more.ipynb"):
        pairing.select_pairs(pairs, ["01_more", name])


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run the command on a stand-in for the repository."""
    monkeypatch.setattr(pairing.find_pairs, "__defaults__", (tmp_path,))
    return lambda *arguments: CliRunner().invoke(build, arguments)


def test_check_executes_nothing_and_reports_a_missing_notebook(tmp_path, command):
    pair = toy_pair(tmp_path)
    result = command("--check")
    assert result.exit_code == 1
    assert "text without a notebook" in result.output
    assert not pair.notebook.exists()


def test_build_then_check(tmp_path, command):
    toy_pair(tmp_path)
    result = command("00_toy")
    assert "chapters/00_toy.ipynb: built, 5 claims, 1 records" in result.output
    assert result.exit_code == 0
    result = command("--check")
    assert "agrees with its text" in result.output
    assert result.exit_code == 0


def test_one_failing_notebook_does_not_stop_the_others(tmp_path, command):
    broken = toy_pair(tmp_path, f"{TOY_SOURCE}\n# %%\n1 / 0\n", stem="00_broken")
    good = toy_pair(tmp_path)
    result = command()
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.output
    assert (broken.notebook.exists(), good.notebook.exists()) == (False, True)


def test_a_wrong_name_is_a_usage_error(tmp_path, command):
    toy_pair(tmp_path)
    result = command("nosuch")
    assert result.exit_code == 2
    assert "no notebook or text named 'nosuch'" in result.output
