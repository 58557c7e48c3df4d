"""The weights that ship with the course, in both frameworks."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.glyphnet_weights import WEIGHTS, read_letters, read_weights
from data_scripts.handwriting import load_handwriting
from data_scripts.photo_digits import load_photo_digits
from data_scripts.pretrained_torch import load_glyphnet
from workbook.paths import ROOT

TOLERANCE = 1e-4
"""Largest difference between PyTorch's and Keras's features, and between their logits."""

KERAS_HALF = """
import sys
import numpy as np
from workbook.lesson import begin
begin("keras")
import keras
from data_scripts.glyphnet_keras import load_backbone, load_glyphnet

images_file, answers_file = sys.argv[1:]
images = np.load(images_file)[..., None]
answers = {
    "features": np.asarray(load_backbone()(images)),
    "logits": np.asarray(load_glyphnet()(images)),
}

other_epsilon = load_backbone()
for layer in other_epsilon.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.epsilon = 1e-3  # Keras's own default
answers["other_epsilon"] = np.asarray(other_epsilon(images))

swapped = load_backbone()
layer = swapped.get_layer("block2.bn1")
scale, offset, mean, variance = layer.get_weights()
layer.set_weights([scale, offset, np.roll(mean, 1), variance])
answers["swapped_mean"] = np.asarray(swapped(images))
np.savez(answers_file, **answers)
"""


@pytest.fixture(scope="module", autouse=True)
def _shipped():
    if not WEIGHTS.exists():
        pytest.fail(f"{WEIGHTS} is missing, and it ships: python -m data_scripts.pretrain_glyphnet", pytrace=False)


@pytest.fixture(scope="module")
def images():
    """64 handwritten digits and 64 over photographs, as the course shows them to the network."""
    tasks = load_handwriting(), load_photo_digits()
    return np.concatenate([task.inputs[task.test[:64]] for task in tasks])


@pytest.fixture(scope="module")
def network():
    return load_glyphnet()


@pytest.fixture(scope="module")
def torch_answers(images, network):
    pictures = torch.from_numpy(images)[:, None]
    with torch.inference_mode():
        return {"features": network.features(pictures).numpy(), "logits": network(pictures).numpy()}


@pytest.fixture(scope="module")
def keras_answers(images, tmp_path_factory):
    """What the Keras half computes, in a process of its own: one framework a process."""
    folder = tmp_path_factory.mktemp("keras")
    np.save(folder / "images.npy", images)
    command = [sys.executable, "-c", KERAS_HALF, str(folder / "images.npy"), str(folder / "answers.npz")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "answers.npz"))


def difference(one, other):
    assert one.shape == other.shape
    return np.abs(one - other).max()


# The file


def test_the_file_is_at_most_two_megabytes():
    assert WEIGHTS.stat().st_size <= 2_000_000


def test_tensors_are_float32_under_the_names_of_the_module():
    tensors = read_weights()
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype("float32")}
    names = GlyphNet(classes=len(read_letters())).state_dict()
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: tuple(value.shape) for name, value in names.items() if "num_batches" not in name
    }


def test_the_source_head_has_one_output_a_letter(network):
    letters = read_letters()
    assert network.head.out_features == len(letters) >= 300
    assert len(set(letters)) == len(letters)
    assert not any(letter.isdigit() for letter in letters)


def test_an_image_costs_at_most_15_million_multiply_adds(network, images):
    cost = []

    def count(layer, inputs, output):
        if isinstance(layer, torch.nn.Conv2d):
            one_value = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
        else:
            one_value = layer.in_features
        cost.append(one_value * output[0].numel())

    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        network(torch.from_numpy(images[:2])[:, None])
    for hook in hooks:
        hook.remove()
    assert len(cost) == len(layers) == 10
    assert cost[0] == 9 * 24 * 16 * 16, "the stem: 3×3 on one channel, 24 channels of 16×16"
    assert sum(cost) <= 15_000_000


def test_settings_and_log_are_those_of_the_weights():
    settings = json.loads(WEIGHTS.with_suffix(".json").read_text())
    assert settings["classes"] == len(read_letters())
    assert not settings["without_lookalikes"]
    with WEIGHTS.with_suffix(".csv").open(newline="") as file:
        log = list(csv.DictReader(file))
    steps = [int(row["step"]) for row in log]
    assert steps == sorted(set(steps))
    assert steps[-1] == settings["steps"]
    assert 0 < float(log[0]["validation_accuracy"]) < float(log[-1]["validation_accuracy"]) < 1
    assert round(float(log[-1]["seconds"]) / 60, 1) == settings["minutes"] <= 60


# The module


def test_the_pretrained_network_is_ready_to_use(network):
    assert not network.training
    assert not any(module.training for module in network.modules())


def test_features_are_pooled_and_not_negative(torch_answers):
    features = torch_answers["features"]
    assert features.shape == (128, 128)
    assert features.min() >= 0
    assert (features.std(axis=0) > 1e-3).mean() > 0.5, "most features tell the pictures apart"


# PyTorch and Keras


def test_features_agree_between_pytorch_and_keras(torch_answers, keras_answers):
    assert difference(torch_answers["features"], keras_answers["features"]) < TOLERANCE


def test_logits_agree_between_pytorch_and_keras(torch_answers, keras_answers):
    assert difference(torch_answers["logits"], keras_answers["logits"]) < TOLERANCE


@pytest.mark.parametrize("mistake", ["other_epsilon", "swapped_mean"])
def test_a_mistake_in_the_keras_model_would_be_seen(torch_answers, keras_answers, mistake):
    assert difference(torch_answers["features"], keras_answers[mistake]) > 10 * TOLERANCE


# Bad files


@pytest.mark.parametrize("load", [load_glyphnet, read_weights, read_letters])
def test_a_missing_file_says_what_to_do(load, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors is missing: restore it with 'git checkout") as told:
        load(tmp_path / "gone.safetensors")
    assert "python -m data_scripts.pretrain_glyphnet" in str(told.value)


@pytest.mark.parametrize("load", [load_glyphnet, read_weights, read_letters])
def test_a_truncated_file_is_not_used(load, tmp_path):
    path = tmp_path / "half.safetensors"
    path.write_bytes(WEIGHTS.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"half\.safetensors is not a whole safetensors file .*: restore it"):
        load(path)


@pytest.mark.parametrize("load", [load_glyphnet, read_weights, read_letters])
@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [(["layer.weight"], {"letters": '["A"]'}), (["stem.weight", "head.bias"], None)],
    ids=["other tensors", "no letters"],
)
def test_weights_of_another_network_are_refused(load, tensors, metadata, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({name: np.zeros((2, 2), np.float32) for name in tensors}, path, metadata=metadata)
    with pytest.raises(ValueError, match=r"other\.safetensors does not hold a GlyphNet"):
        load(path)


def test_a_glyphnet_that_lacks_a_tensor_names_it(tmp_path):
    tensors = read_weights()
    del tensors["block2.bn1.running_var"]
    save_file(tensors, tmp_path / "x.safetensors", metadata={"letters": json.dumps(read_letters())})
    with pytest.raises(ValueError, match=r"missing.*block2\.bn1\.running_var"):
        load_glyphnet(tmp_path / "x.safetensors")
