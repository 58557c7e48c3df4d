import os
import random
import subprocess
import sys
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from workbook import lesson
from workbook.bundles import CLAIM_MIME, RECORD_MIME, read_claims, read_records
from workbook.lesson import begin, claim, device, gpu, record, record_table
from workbook.paths import ROOT

# 1, 2, 3: mean 2, standard deviation 1; Student's t is 4.302653 with 2 degrees of freedom, divided by √3.
HALF = 2.484138


@pytest.fixture(autouse=True)
def fresh_kernel(monkeypatch):
    """Every test starts like a notebook in a new kernel."""
    monkeypatch.setattr(lesson, "_session", lesson._Session())
    with plt.rc_context():
        yield


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """What the notebook displayed, as it would be stored."""
    outputs = []

    def display(data, *, raw):
        assert raw
        outputs.append(data)

    monkeypatch.setattr(lesson, "display", display)
    return outputs


@pytest.fixture
def framework(monkeypatch):
    """A stand-in for PyTorch: ``begin("torch")`` starts it, and its device can be chosen."""
    module = ModuleType("workbook.start_torch")
    module.seeds = []
    module.start = module.seeds.append
    module.device, module.device_name = lambda: "cpu", lambda: "cpu"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.fixture
def cuda(framework):
    framework.device, framework.device_name = lambda: "cuda", lambda: "Test GPU 3000"
    begin("torch")


def as_notebook(outputs):
    return new_notebook(cells=[new_code_cell("", outputs=[new_output("display_data", data) for data in outputs])])


# begin


def test_an_unknown_profile_names_the_choices():
    with pytest.raises(ValueError, match="unknown profile 'fast': expected one of 'quick', 'public', 'gpu'"):
        begin(profile="fast")


def test_an_unknown_framework_names_the_choices():
    with pytest.raises(ValueError, match=r"unknown framework 'jax': expected one of \['keras', 'torch'\]"):
        begin("jax")


def test_a_kernel_holds_one_framework(framework):
    begin("torch")
    begin("torch", seed=3)
    assert framework.seeds == [0, 3]
    with pytest.raises(RuntimeError, match="already runs another framework; restart it to begin with 'keras'"):
        begin("keras")


def test_without_a_framework_python_and_numpy_are_seeded():
    drawn = []
    for seed in (4, 4, 5):
        begin(seed=seed)
        drawn.append((random.random(), np.random.random()))
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])


def test_figures_get_the_course_style():
    plt.rcParams["font.size"] = 4
    begin()
    assert plt.rcParams["font.size"] == 11
    assert plt.rcParams["axes.prop_cycle"].by_key()["color"][0] == "#0072B2"


# Claims


def test_a_claim_that_holds_shows_one_line_and_stores_its_bundle(shown):
    claim("01.sum", "two and two make four", 2 + 2 == 4)
    bundle = {"id": "01.sum", "statement": "two and two make four", "holds": True, "in_scope": True}
    assert shown == [{"text/plain": "Claim 01.sum · two and two make four · holds", CLAIM_MIME: bundle}]
    assert read_claims(as_notebook(shown)) == [bundle]


def test_a_false_claim_is_shown_and_then_stops_the_notebook(shown):
    with pytest.raises(AssertionError, match=r"claim 01\.sum does not hold: two and two make five"):
        claim("01.sum", "two and two make five", 2 + 2 == 5)
    assert shown[0]["text/plain"] == "Claim 01.sum · two and two make five · does not hold"
    assert (shown[0][CLAIM_MIME]["holds"], shown[0][CLAIM_MIME]["in_scope"]) == (False, True)


def test_out_of_scope_a_false_claim_is_recorded_and_the_run_goes_on(shown):
    begin(scope=False)
    claim("01.sum", "two and two make five", False)
    claim("01.product", "two times two is four", True)
    assert [data["text/plain"] for data in shown] == [
        "Claim 01.sum · two and two make five · does not hold (out of scope)",
        "Claim 01.product · two times two is four · holds (out of scope)",
    ]
    assert [(c["holds"], c["in_scope"]) for c in read_claims(as_notebook(shown))] == [(False, False), (True, False)]


def test_a_claim_may_have_a_scope_of_its_own(shown):
    claim("01.slow", "the GPU is ten times faster", False, scope=False)
    begin(scope=False)
    with pytest.raises(AssertionError):
        claim("01.exact", "the gradient is zero", False, scope=True)
    assert [data[CLAIM_MIME]["in_scope"] for data in shown] == [False, True]


@pytest.mark.parametrize("holds", [np.True_, np.float64(0.3) < np.float64(0.4), np.all([True, True])])
def test_numpy_booleans_are_stored_as_plain_ones(shown, holds):
    claim("01.numpy", "it holds", holds)
    assert shown[0][CLAIM_MIME]["holds"] is True


@pytest.mark.parametrize("holds", [0.93, 1, "yes", None, np.array([True, False])])
def test_a_claim_rests_on_a_comparison(shown, holds):
    with pytest.raises(TypeError, match=rf"claim '01\.x': holds is {type(holds).__name__}, expected a boolean"):
        claim("01.x", "it holds", holds)
    assert shown == []


def test_an_id_stands_for_one_statement(shown):
    claim("01.x", "the probe wins", True)
    with pytest.raises(ValueError, match=r"claim '01\.x' already states 'the probe wins' in this notebook"):
        claim("01.x", "fine-tuning wins", True)
    assert len(shown) == 1


def test_a_learner_may_run_a_cell_again():
    claim("01.x", "the probe wins", True)
    claim("01.x", "the probe wins", True)
    with pytest.raises(AssertionError):
        claim("01.x", "the probe wins", False)


def test_begin_forgets_the_claims_of_the_run_before(shown):
    claim("01.x", "the probe wins", True)
    begin()
    claim("01.x", "fine-tuning wins", True)
    assert len(shown) == 2


# Records


def test_a_record_shows_mean_and_interval_and_stores_the_values(shown):
    record("01.probe.k1", [1, 2, 3])
    (data,) = shown
    assert data["text/plain"] == "Record 01.probe.k1"
    assert data["text/markdown"] == "**01.probe.k1**: 2.000 ± 2.484 (95% interval, 3 values)"
    bundle = data[RECORD_MIME]
    assert (bundle.pop("mean"), bundle.pop("low"), bundle.pop("high")) == pytest.approx((2, 2 - HALF, 2 + HALF))
    assert bundle == {
        "name": "01.probe.k1",
        "values": [1.0, 2.0, 3.0],
        "confidence": 0.95,
        "expected": None,
        "unit": "",
        "device": "cpu",
    }


@pytest.mark.parametrize("value", [0.25, [0.25], np.float32(0.25), np.array([[0.25]])])
def test_a_single_number_is_shown_without_an_interval(shown, value):
    record("01.time", value, unit="s", digits=1, expected=(0.0, 0.5))
    assert shown[0]["text/markdown"] == "**01.time**: 0.2 s · inside 0.0 to 0.5"
    bundle = shown[0][RECORD_MIME]
    assert (bundle["values"], bundle["mean"], bundle["low"], bundle["high"]) == ([0.25], 0.25, None, None)
    assert all(type(number) is float for number in bundle["values"]), "the bundle is stored as JSON"


@pytest.mark.parametrize(
    ("expected", "said"),
    [((1.5, 2.5), "inside 1.50 to 2.50"), ((2, 3), "inside 2.00 to 3.00"), ((2.1, 3), "**outside** 2.10 to 3.00")],
)
def test_a_mean_outside_its_band_is_pointed_out(shown, expected, said):
    record("01.x", [1, 2, 3], expected=expected, unit="images/s", digits=2)
    assert shown[0]["text/markdown"] == f"**01.x**: 2.00 ± 2.48 images/s (95% interval, 3 values) · {said}"
    assert shown[0][RECORD_MIME]["expected"] == list(expected)


def test_the_record_names_the_device_that_computed_it(shown, cuda):
    record("01.speed", 5.0)
    assert shown[0][RECORD_MIME]["device"] == "Test GPU 3000"


@pytest.mark.parametrize("values", [[], [0.9, float("nan")]])
def test_a_record_without_a_mean_names_itself(shown, values):
    with pytest.raises(ValueError, match=r"record '01\.x': expected at least one finite value"):
        record("01.x", values)
    assert shown == []


def test_a_table_shows_a_mean_and_interval_in_each_entry(shown):
    record_table(
        "01.handwriting",
        {"probe": {"k = 1": [1, 2, 3], "k = 5": [5, 5, 5]}, "scratch": {"k = 5": [3, 2, 1]}},
        expected={("probe", "k = 1"): (1.9, 2.1), ("scratch", "k = 5"): (2.5, 3)},
        corner="method",
        digits=2,
    )
    (data,) = shown
    assert data["text/plain"] == "Record 01.handwriting"
    assert data["text/markdown"].splitlines() == [
        "| method | k = 1 | k = 5 |",
        "|---|---|---|",
        "| probe | 2.00 ± 2.48 | 5.00 ± 0.00 |",
        "| scratch |  | 2.00 ± 2.48 (outside its band) |",
        "",
        "Mean ± half the 95% interval over 3 values.",
    ]
    assert data[RECORD_MIME]["name"] == "01.handwriting"
    records = read_records(as_notebook(shown))
    names = [record["name"].removeprefix("01.handwriting.") for record in records]
    assert names == ["probe.k = 1", "probe.k = 5", "scratch.k = 5"]
    assert [(r["mean"], r["low"], r["high"]) for r in records] == [
        pytest.approx((2, 2 - HALF, 2 + HALF)),
        (5, 5, 5),
        pytest.approx((2, 2 - HALF, 2 + HALF)),
    ]
    assert [r["values"] for r in records] == [[1, 2, 3], [5, 5, 5], [3, 2, 1]]
    assert [r["expected"] for r in records] == [[1.9, 2.1], None, [2.5, 3.0]]


@pytest.mark.parametrize(
    ("values", "last_line"),
    [
        ([[1], [2]], "| b | 2.000 |"),
        ([[1, 2], [3, 4]], "Mean ± half the 95% interval over 2 values."),
        ([[1, 2], [3, 4, 5]], "Mean ± half the 95% interval over 2 to 3 values."),
    ],
)
def test_a_table_says_over_how_many_values(shown, values, last_line):
    record_table("01.t", {"a": {"x": values[0]}, "b": {"x": values[1]}})
    assert shown[0]["text/markdown"].splitlines()[-1] == last_line


def test_a_table_without_values_is_refused(shown):
    with pytest.raises(ValueError, match=r"record table '01\.t': expected at least one row with values"):
        record_table("01.t", {"probe": {}})
    with pytest.raises(ValueError, match=r"record '01\.t\.probe\.k1': expected at least one finite value"):
        record_table("01.t", {"probe": {"k1": []}})
    assert shown == []


# Device and GPU section


@pytest.mark.parametrize("call", [device, gpu])
def test_the_device_is_known_after_begin_only(call):
    begin()
    with pytest.raises(RuntimeError, match=r'no framework was started: call begin\("torch"\) or begin\("keras"\)'):
        call()


def test_a_gpu_section_on_a_device_runs_at_full_size(cuda, capsys):
    section = gpu()
    assert device() == section.device == "cuda"
    assert section
    assert section.size(64, 2) == 64
    assert capsys.readouterr().out == "Running the GPU section on Test GPU 3000.\n"
    assert gpu(on_cpu=True) == section, "a device is used where there is one"


def test_a_gpu_section_without_a_device_is_skipped(framework, capsys):
    begin("torch")
    assert device() == "cpu"
    assert not gpu()
    assert capsys.readouterr().out == (
        "No CUDA device: the GPU section is skipped (set gpu_on_cpu = True to run it at a token size).\n"
    )


def test_a_gpu_section_can_run_on_the_cpu_at_a_token_size(framework, capsys):
    begin("torch")
    section = gpu(on_cpu=True)
    assert section
    assert (section.device, section.size(64, 2)) == ("cpu", 2)
    assert capsys.readouterr().out == "No CUDA device: running the GPU section on the CPU at a token size.\n"


# A real framework, in a process of its own


def run_python(script, **environment):
    command, environment = [sys.executable, "-c", script], os.environ | environment
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, env=environment)


@pytest.mark.parametrize("name", ["torch", "keras"])
def test_a_framework_starts_in_silence(name):
    done = run_python(f'from workbook.lesson import begin; begin("{name}"); print("ok")')
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


KERAS_ON_TORCH = """
from workbook.lesson import begin, device
begin("keras")
import keras, numpy, tensorflow, torch
import torchvision  # brings triton, which must not meet a TensorFlow that came first
print(keras.backend.backend(), device() == ("cuda" if torch.cuda.is_available() else "cpu"))
print(tensorflow.config.get_visible_devices("GPU"), isinstance(keras.ops.ones(1), torch.Tensor))
rows = tensorflow.data.Dataset.from_tensor_slices((numpy.ones((4, 2), "float32"), [0, 1, 0, 1])).batch(2)
model = keras.Sequential([keras.layers.Dense(2)])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
print(len(model.fit(rows, verbose=0, shuffle=False).history["loss"]))
"""


def test_keras_runs_on_pytorch_where_the_environment_says_so():
    done = run_python(KERAS_ON_TORCH, KERAS_BACKEND="torch")
    assert (done.returncode, done.stdout, done.stderr) == (0, "torch True\n[] True\n1\n", "")


def test_another_backend_of_keras_is_refused():
    done = run_python('from workbook.lesson import begin; begin("keras")', KERAS_BACKEND="jax")
    assert "KERAS_BACKEND='jax': the course runs Keras on one of ('tensorflow', 'torch')" in done.stderr


def test_a_framework_is_imported_only_when_asked_for():
    loaded = 'print(sorted({"torch", "tensorflow", "keras"} & set(sys.modules)))'
    done = run_python(f"import sys; from workbook.lesson import begin; begin(); {loaded}")
    assert (done.stdout, done.stderr) == ("[]\n", "")
