import logging

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from data_scripts.glyphnet_torch import GlyphNet
from workbook.methods.torch.export import (
    export_onnx,
    median_latencies,
    median_latency,
    multiply_adds,
    open_session,
    quantise,
    run_session,
    size_on_disk,
)
from workbook.paths import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(np.random.default_rng(0).random((40, 1, 32, 32), dtype=np.float32))


@pytest.fixture(scope="module")
def network(images):
    """A narrow network whose batch normalisation has statistics of its own, in evaluation mode."""
    torch.manual_seed(0)
    network = GlyphNet(10, (4, 6, 8)).train()
    with torch.no_grad():
        for _ in range(20):
            network(images)
    return network.eval()


@pytest.fixture(scope="module")
def folder(network, images, tmp_path_factory):
    """The network, exported in one file and in two."""
    place = tmp_path_factory.mktemp("models")
    export_onnx(network, place / "one.onnx", images[:2])
    export_onnx(network, place / "two.onnx", images[:2], external_data=True)
    quantise(place / "one.onnx", images, place / "int8.onnx")
    return place


# Export


@pytest.mark.parametrize("name", ["one.onnx", "two.onnx"])
@pytest.mark.parametrize("batch", [1, 2, 3, 40])
def test_an_exported_network_computes_the_same_for_any_batch(network, images, folder, name, batch):
    with torch.inference_mode():
        expected = network(images[:batch]).numpy()
    session = open_session(folder / name)
    outputs = session.run(None, {"images": images[:batch].numpy()})[0]
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_images_run_in_batches_and_in_order(network, images, folder):
    with torch.inference_mode():
        expected = network(images).numpy()
    np.testing.assert_allclose(run_session(open_session(folder / "one.onnx"), images, batch=7), expected, atol=1e-5)


def test_batch_normalisation_is_folded_away(folder):
    operations = {node.op_type for node in onnx.load(folder / "one.onnx").graph.node}
    assert "Conv" in operations
    assert "BatchNormalization" not in operations


@pytest.mark.parametrize("name", ["one.onnx", "two.onnx", "int8.onnx"])
def test_a_model_does_not_tell_where_it_was_made(folder, name):
    content = (folder / name).read_bytes()
    assert str(ROOT).encode() not in content
    assert b"glyphnet_torch.py" not in content


def test_exporting_again_replaces_the_data(network, images, tmp_path):
    path = tmp_path / "again.onnx"
    sizes = [size_on_disk(export_onnx(network, path, images[:2], external_data=True)) for _ in range(2)]
    assert sizes[0] == sizes[1]


def test_nothing_is_said(network, images, tmp_path, capfd, caplog, recwarn):
    export_onnx(network, tmp_path / "a.onnx", images[:2])
    quantise(tmp_path / "a.onnx", images, tmp_path / "b.onnx")
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert logging.root.manager.disable == 0


def test_a_network_in_training_mode_is_refused(images, tmp_path):
    with pytest.raises(ValueError, match=r"in training mode.*call eval"):
        export_onnx(GlyphNet(3, (4, 4, 4)), tmp_path / "a.onnx", images[:2])


def test_a_batch_of_one_is_refused(network, images, tmp_path):
    with pytest.raises(ValueError, match="a batch of 1: sizes 0 and 1 are exported as constants"):
        export_onnx(network, tmp_path / "a.onnx", images[:1])


def test_a_missing_folder_is_named(network, images, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot write a\.onnx: its folder .*nowhere does not exist"):
        export_onnx(network, tmp_path / "nowhere" / "a.onnx", images[:2])


# Size


def test_external_data_are_counted(folder):
    alone = (folder / "two.onnx").stat().st_size
    data = (folder / "two.onnx.data").stat().st_size
    assert size_on_disk(folder / "two.onnx") == alone + data
    weights = sum(onnx.numpy_helper.to_array(t).nbytes for t in onnx.load(folder / "one.onnx").graph.initializer)
    assert 0.5 * weights < data <= weights  # small tensors, such as a shape, stay in the model file
    assert size_on_disk(folder / "one.onnx") == (folder / "one.onnx").stat().st_size >= weights


def test_other_files_count_as_they_are(network, tmp_path):
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    assert size_on_disk(tmp_path / "a.safetensors") == (tmp_path / "a.safetensors").stat().st_size


def test_missing_files_are_named(network, images, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*a\.onnx"):
        size_on_disk(tmp_path / "a.onnx")
    path = export_onnx(network, tmp_path / "a.onnx", images[:2], external_data=True)
    (tmp_path / "a.onnx.data").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.onnx keeps weights in a\.onnx\.data, which is not beside it"):
        size_on_disk(path)


# Quantisation


def test_quantised_weights_are_the_nearest_integers_of_a_scale_a_channel(folder):
    exact = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(folder / "one.onnx").graph.initializer}
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(folder / "int8.onnx").graph.initializer}
    kernels = [name for name, value in exact.items() if value.ndim == 4]
    assert kernels
    for name in kernels:
        q, scale, zero = (stored[f"{name}_{part}"] for part in ("quantized", "scale", "zero_point"))
        assert q.dtype == np.int8
        assert scale.shape == (len(q),)
        assert not zero.any()
        error = np.abs(q * scale[:, None, None, None] - exact[name]).max(axis=(1, 2, 3))
        assert (error <= scale / 2 * (1 + 1e-5)).all()


def test_a_quantised_model_stays_close_and_takes_any_batch(network, images, folder):
    with torch.inference_mode():
        expected = network(images).numpy()
    for batch in (1, 3, 40):
        outputs = open_session(folder / "int8.onnx").run(None, {"images": images[:batch].numpy()})[0]
        assert np.abs(outputs - expected[:batch]).max() < 0.1 * np.ptp(expected)


def test_calibration_images_of_another_shape_are_refused(images, folder, tmp_path):
    with pytest.raises(ValueError, match=r"have shape \(40, 32, 32\): expected at least one of shape \(1, 32, 32\)"):
        quantise(folder / "one.onnx", images[:, 0], tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=r"have shape \(0, 1, 32, 32\)"):
        quantise(folder / "one.onnx", images[:0], tmp_path / "a.onnx")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        quantise(folder / "none.onnx", images, tmp_path / "a.onnx")


# Cost


def test_multiply_adds_are_those_of_one_image():
    small = nn.Sequential(nn.Conv2d(2, 5, 3, stride=2, padding=1, bias=False), nn.Flatten(), nn.Linear(5 * 4 * 4, 7))
    assert multiply_adds(small, torch.zeros(3, 2, 8, 8)) == 2 * 5 * 9 * 16 + 80 * 7


def test_latency_ignores_the_first_calls_and_one_slow_one(monkeypatch):
    now, durations = [0.0], iter([900, 900, 1, 2, 3, 4, 1000])

    def call():
        now[0] += next(durations)

    monkeypatch.setattr("workbook.methods.torch.export.time.perf_counter", lambda: now[0])
    assert median_latency(call, repeats=5, warm_up=2) == (3, 2, 4)


def test_several_calls_take_turns():
    said = []
    found = median_latencies({"a": lambda: said.append("a"), "b": lambda: said.append("b")}, repeats=5, warm_up=1)
    turns = {"".join(said[i : i + 2]) for i in range(0, 12, 2)}
    assert len(said) == 12
    assert turns == {"ab", "ba"}
    assert list(found) == ["a", "b"]


def test_quartiles_need_five_calls():
    with pytest.raises(ValueError, match="repeats=4: quartiles need at least 5"):
        median_latency(lambda: None, repeats=4)
