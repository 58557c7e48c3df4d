"""Each finding of the gate, shown on a good notebook that is broken in one way."""

import tempfile
from pathlib import Path

import nbformat
import pytest

from tests.toy_notebooks import TOY_SOURCE, cell_holding, executed_toy, toy_pair
from workbook.authoring.building import write_atomically
from workbook.authoring.gate import gate, output_findings, source_findings
from workbook.bundles import CLAIM_MIME, RECORD_MIME
from workbook.paths import ROOT


def findings(notebook):
    return source_findings(notebook, "toy.ipynb") + output_findings(notebook, "toy.ipynb")


def only_finding(notebook):
    (finding,) = findings(notebook)
    assert finding.startswith("toy.ipynb: ")
    return finding


@pytest.fixture
def toy():
    return executed_toy()


def stream(text, name="stdout"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def show(**data):
    return nbformat.v4.new_output("display_data", data={key.replace("_", "/"): data[key] for key in data})


def test_a_good_notebook_has_no_findings(toy):
    assert findings(toy) == []


# What stands in the cells


def test_first_code_cell_must_be_tagged_parameters(toy):
    cell_holding(toy, "profile").metadata.tags = []
    assert "the first code cell is not tagged parameters" in only_finding(toy)


def test_a_second_parameters_cell_is_found(toy):
    cell_holding(toy, "sum(ks))").metadata.tags = ["parameters"]
    finding = only_finding(toy)
    assert 'cell 4 (`print("numbers:", sum(ks))`) is tagged parameters' in finding


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("steps = 2 * 50  # type: int", "not a plain literal"),
        ("draws = other  # type: int", "not a plain literal"),
        ("draws = 3", "`draws = 3` has no type comment; add `# type: int`"),
        ("draws = 3  # how many", "no type comment"),
        ("draws = 3  # type: str", "is a int, but its type comment says str"),
        ("low = high = 0  # type: int", "is not of the form"),
        ("draws: int = 3", "is not of the form"),
        ("rule = 'a=b'  # type: str", "papermill cannot read"),
        ("draws = ", "does not parse"),
    ],
)
def test_parameters_must_be_literals_with_type_comments(toy, line, message):
    cell_holding(toy, "profile").source += f"\n{line}"
    assert message in only_finding(toy)


@pytest.mark.parametrize(
    "line", ["rate = 1  # type: float", "limit = None  # type: int", "shifts = [-1, 1]  # type: list[int]"]
)
def test_parameters_of_these_forms_are_fine(toy, line):
    cell_holding(toy, "profile").source += f"\n{line}"
    assert findings(toy) == []


def test_a_cell_of_31_lines_is_too_long_and_one_of_30_is_not(toy):
    cell = cell_holding(toy, "sum(ks))")
    cell.source = "\n".join(["x = 1"] * 30)
    assert findings(toy) == []
    cell.source += "\nx = 1"
    assert "has 31 lines; at most 30" in only_finding(toy)


def test_gpu_cells_must_be_ignored_by_nbval(toy):
    cell_holding(toy, "no GPU").metadata.tags = ["gpu"]
    assert "tagged gpu but not nbval-ignore-output" in only_finding(toy)


@pytest.mark.parametrize("tag", ["nbval-ignore-output", "nbval-skip"])
def test_only_gpu_cells_may_be_kept_from_nbval(toy, tag):
    cell_holding(toy, "00.sum").metadata.tags = [tag]
    assert "is kept from nbval" in only_finding(toy)


def test_a_comment_marker_is_a_hole_like_a_tag(toy):
    cell = cell_holding(toy, "00.sum")
    cell.source = f"# NBVAL_IGNORE_OUTPUT\n{cell.source}"
    assert "is kept from nbval" in only_finding(toy)


def test_no_cell_may_expect_an_exception(toy):
    cell_holding(toy, "00.sum").metadata.tags = ["raises-exception"]
    assert "show an expected error with try/except" in only_finding(toy)


@pytest.mark.parametrize(
    "line", ["clear_output(wait=True)", "display(1, display_id=True)", "update_display(1, display_id='a')"]
)
def test_updating_displays_are_found(toy, line):
    cell_holding(toy, "00.sum").source += f"\n{line}"
    assert any("display each result once" in finding for finding in findings(toy))


# What a run left behind


def test_a_null_count_is_found(toy):
    cell_holding(toy, "sum(ks))").execution_count = None
    assert "has no execution count" in only_finding(toy)


def test_cells_run_out_of_order_are_found(toy):
    one, two = cell_holding(toy, "00.one"), cell_holding(toy, "00.sum")
    one.execution_count, two.execution_count = two.execution_count, one.execution_count
    found = findings(toy)
    assert len(found) == 2
    assert all("not run in order" in finding for finding in found)


def test_an_empty_code_cell_needs_no_count(toy):
    toy.cells.insert(3, nbformat.v4.new_code_cell(""))
    assert findings(toy) == []


def test_an_error_output_is_found(toy):
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="bad", traceback=["ValueError: bad"])
    cell_holding(toy, "00.sum").outputs.append(error)
    assert "ended with ValueError: bad" in only_finding(toy)


def test_stderr_is_found(toy):
    cell_holding(toy, "00.sum").outputs.append(stream("100%|####|", name="stderr"))
    assert "wrote to stderr: '100%|####|'" in only_finding(toy)


@pytest.mark.parametrize("text", ["UserWarning: this and that", "WARNING:tensorflow: retracing"])
def test_a_warning_in_the_text_is_found(toy, text):
    cell_holding(toy, "00.sum").outputs.append(stream(text))
    assert "shows a warning" in only_finding(toy)


def test_an_svg_picture_is_found(toy):
    picture = show(**{"image/svg+xml": "<svg/>"})
    cell_holding(toy, "00.sum").outputs.append(picture)
    assert "use PNG" in only_finding(toy)


@pytest.mark.parametrize(
    "path",
    [
        "/home/ana/x.csv",
        "/root/.cache/x",
        "/Users/ana/x.csv",
        "/tmp/x.csv",
        "file:///tmp/x.csv",
        "/private/var/folders/zz/x.csv",
        r"C:\Users\ana\x.csv",
        "lib/python3.11/site-packages/numpy/core.py",
        str(ROOT / "chapters"),
        str(Path.home()),
        tempfile.gettempdir(),
    ],
)
@pytest.mark.parametrize("mime", ["text/plain", "text/html", "text/markdown", "application/json"])
def test_a_machine_path_is_found_in_every_kind_of_text(toy, path, mime):
    data = {"path": path} if mime == "application/json" else f"saved to {path}"
    cell_holding(toy, "00.sum").outputs.append(nbformat.v4.new_output("display_data", data={mime: data}))
    assert "shows a machine path" in only_finding(toy)


@pytest.mark.parametrize("text", ["https://example.org/home/page", "chapters/tmp/x", "./tmp/x", "#ff8800 0xff8800"])
def test_what_only_looks_like_a_path_or_address_is_fine(toy, text):
    cell_holding(toy, "00.sum").outputs.append(stream(text))
    assert findings(toy) == []


def test_a_memory_address_is_found(toy):
    cell_holding(toy, "00.sum").outputs.append(show(text_plain="<Model at 0x7f3a12bc90d0>"))
    assert "shows a memory address" in only_finding(toy)


def test_pictures_are_not_searched_for_paths(toy):
    # Base64 can spell anything, '/tmp/' included.
    cell_holding(toy, "00.sum").outputs.append(show(image_png="/tmp/AAAA"))
    assert findings(toy) == []


def test_two_compared_outputs_are_too_few(toy):
    for source in ("00.sum", "00.max", "00.positive"):
        cell_holding(toy, source).outputs = []
    assert "nbval compares 2 outputs; at least 3" in only_finding(toy)


@pytest.mark.parametrize(
    "output",
    [
        show(image_png="AAAA"),
        show(image_png="AAAA", text_plain="<Figure size 640x480 with 2 Axes>"),
        show(text_markdown="**3**"),
        stream("\n"),
    ],
)
def test_an_output_that_nbval_skips_or_that_says_nothing_does_not_count(toy, output):
    for source in ("00.sum", "00.max", "00.positive"):
        cell_holding(toy, source).outputs = [output]
    assert "nbval compares 2 outputs" in only_finding(toy)


# Claims and records


def claim_output(notebook, source="00.sum"):
    return cell_holding(notebook, source).outputs[0].data


def test_an_edited_claim_line_is_found(toy):
    claim_output(toy)["text/plain"] = "Claim 00.sum · all sums are positive · holds"
    assert "differs from its bundle" in only_finding(toy)


def test_an_edited_claim_bundle_is_found(toy):
    claim_output(toy)[CLAIM_MIME]["statement"] = "something else"
    assert "differs from its bundle" in only_finding(toy)


def test_a_false_claim_is_found_also_out_of_scope(toy):
    data = claim_output(toy)
    data[CLAIM_MIME] |= {"holds": False, "in_scope": False}
    data["text/plain"] = data["text/plain"].replace("holds", "does not hold") + " (out of scope)"
    assert "claim 00.sum does not hold" in only_finding(toy)


def test_only_a_claim_out_of_scope_may_say_so(toy):
    data = claim_output(toy)
    data["text/plain"] += " (out of scope)"
    assert "differs from its bundle" in only_finding(toy)
    data[CLAIM_MIME]["in_scope"] = False
    assert findings(toy) == []


def test_an_incomplete_claim_bundle_is_found(toy):
    del claim_output(toy)[CLAIM_MIME]["in_scope"]
    assert "the claim bundle lacks in_scope" in only_finding(toy)


def test_a_claim_made_twice_is_found(toy):
    cell_holding(toy, "00.max").outputs = cell_holding(toy, "00.sum").outputs
    assert "claim 00.sum is made twice" in only_finding(toy)


def set_record(notebook, values, shown, mean=None):
    data = claim_output(notebook, "00.clock")
    mean = sum(values) / len(values) if mean is None else mean
    data[RECORD_MIME] |= {"values": values, "mean": mean}
    data["text/markdown"] = shown


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.8449], "**00.clock.k1** .845 ± .012"),
        ([0.8449], "accuracy 0.84"),
        ([0.8449], "84.5 %"),
        ([-0.25, -0.35], "−.300"),
        ([1.0, 1.0], "1"),
        ([12.3], "12 s"),
        ([2.31e-07], "error 2.3e-07"),
        ([3.7], "**00.clock.k1**: 4 s"),
        ([0.8449], "**00.clock.k1**: 0.845 · inside 0.800 to 0.900"),
    ],
)
def test_a_record_may_show_its_mean_in_these_ways(toy, values, shown):
    set_record(toy, values, shown)
    assert findings(toy) == []


@pytest.mark.parametrize(
    "shown", ["**00.clock.k1** .846", "0.85", "k = 2", "", "84.6 %", "0.860 · inside 0.845 to 0.900"]
)
def test_a_record_that_shows_another_mean_is_found(toy, shown):
    set_record(toy, [0.8449], shown)
    assert "not shown in its text" in only_finding(toy)


def test_a_mean_that_is_not_the_mean_of_the_values_is_found(toy):
    set_record(toy, [0.5, 0.7], ".65", mean=0.65)
    assert "but its values average to 0.6" in only_finding(toy)


def test_every_row_of_a_table_of_records_is_checked(toy):
    data = claim_output(toy, "00.clock")
    row = data[RECORD_MIME] | {"values": [0.5], "mean": 0.5}
    other = row | {"name": "00.clock.k2", "values": [0.7], "mean": 0.7}
    data[RECORD_MIME] = {"name": "00.clock", "records": [row, other]}
    data["text/markdown"] = "| 1 | .50 |\n| 2 | .71 |"
    assert "record 00.clock.k2 has the mean 0.7, not shown" in only_finding(toy)
    data["text/markdown"] = "| k | 00.clock |\n|---|---|\n| 1 | 0.500 ± 0.010 |\n| 2 | 1 ± 0 |"
    assert findings(toy) == []


# Pairs


@pytest.fixture
def pair(tmp_path, toy):
    built = toy_pair(tmp_path)
    write_atomically(toy, built.notebook)
    return built


def test_a_built_pair_passes(tmp_path, pair):
    assert gate(tmp_path) == []


def test_a_text_without_a_notebook_is_found(tmp_path, pair):
    pair.notebook.unlink()
    assert gate(tmp_path) == ["chapters/00_toy.ipynb: text without a notebook; run `python -m workbook build 00_toy`"]


def test_a_notebook_without_a_text_is_found(tmp_path, pair):
    pair.source.unlink()
    (finding,) = gate(tmp_path)
    assert "chapters/00_toy.ipynb: notebook without its text source/00_toy.py" in finding


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("max(ks)", "min(ks)", "cell 9: source differs"),
        ("# Read the number just shown.", "# Read on.", "cell 8: source differs"),
        ('["gpu", "nbval-ignore-output"]', '["gpu"]', "cell 10: metadata differs"),
        ("# %% [markdown]\n# Read", "# %% [raw]\n# Read", "cell 8: cell type differs"),
        ('# %%\nprint("numbers:", sum(ks))\n\n', "", "cell 4: source differs"),
    ],
)
def test_a_text_edited_after_the_build_is_found(tmp_path, pair, before, after, message):
    assert before in TOY_SOURCE
    pair.source.write_text(TOY_SOURCE.replace(before, after), encoding="utf-8")
    (finding,) = gate(tmp_path)
    assert f"notebook and text disagree: {message}" in finding


def test_a_cell_added_at_the_end_of_the_text_is_found(tmp_path, pair):
    pair.source.write_text(f"{TOY_SOURCE}\n# %% [markdown]\n# The end.\n", encoding="utf-8")
    (finding,) = gate(tmp_path)
    assert "the text has 12 cells, the notebook has 11" in finding


def test_metadata_of_another_machine_are_found(tmp_path, pair, toy):
    toy.metadata.language_info.version = "3.11.4"
    write_atomically(toy, pair.notebook)
    (finding,) = gate(tmp_path)
    assert "metadata are not those that a build writes" in finding


def test_a_notebook_that_is_no_json_is_found(tmp_path, pair):
    pair.notebook.write_text("<<<<<<< ours", encoding="utf-8")
    (finding,) = gate(tmp_path)
    assert "cannot be read as a notebook" in finding
