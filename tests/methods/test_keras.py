"""The Keras methods, in one process of their own: the framework is imported once, and PyTorch is not in it."""

import json
import subprocess
import sys

import pytest

from workbook.paths import ROOT

SCRIPT = '''
import json, sys, tempfile
from pathlib import Path
from workbook.lesson import begin

begin("keras")
import keras
import numpy as np
from data_scripts.glyphnet_keras import load_backbone
from workbook.methods.keras import applications, training

facts, folder = {}, Path(tempfile.mkdtemp())
random = np.random.default_rng(0)


def message(kind, work):
    try:
        work()
    except kind as error:
        return str(error)
    return ""


# Data

images = training.as_images(random.random((12, 32, 32)))
labels = np.arange(12) % 3
shift = training.random_shift(2, seed=0)
shifted = keras.ops.convert_to_numpy(shift(images, training=True))
known = set(images.round(5).ravel().tolist())
facts["images"] = list(images.shape)
facts["shift_keeps_values"] = all(value in known for value in shifted.round(5).ravel().tolist())
facts["shift_changes"] = not np.array_equal(shifted, images)
data = training.training_data(images, labels, batch=5, seed=0, augment=shift)
passes = [[(x.numpy(), y.numpy()) for x, y in data] for _ in range(2)]
facts["batches"] = [len(y) for _, y in passes[0]]
facts["same_rows"] = [sorted(np.concatenate([y for _, y in one]).tolist()) for one in passes] == [sorted(labels)] * 2
pictures = [{x.tobytes() for batch, _ in one for x in batch} for one in passes]
facts["drawn_anew"] = len(pictures[0] - pictures[1]) > 6
plain = training.training_data(images, labels, batch=5, seed=0)
facts["plain_rows"] = {x.tobytes() for batch, _ in plain for x in batch.numpy()} == {x.tobytes() for x in images}
facts["in_order"] = np.concatenate([y for _, y in training.evaluation_data(images, labels, batch=5)]).tolist()

# Freezing

network = training.build_network(load_backbone(), 3)
backbone = network.get_layer("glyphnet_backbone")
facts["norms"] = len(training.norm_layers(network))
facts["head"] = network.output_shape
unpooled = keras.Model(backbone.input, backbone.get_layer("block3.relu2").output)
facts["unpooled"] = message(ValueError, lambda: training.build_network(unpooled, 3))
facts["no_prefix"] = message(ValueError, lambda: training.unfreeze(backbone, ("block9",)))


def trained(prefixes, **options):
    """Names of the variables that two steps change, and of those that the policy trains."""
    training.unfreeze(backbone, prefixes, **options)
    training.compile_network(network, 1e-2)
    before = {v.path: keras.ops.convert_to_numpy(v).copy() for v in network.variables}
    network.fit(data, epochs=1, verbose=0, shuffle=False)
    changed = [v.path for v in network.variables if not np.array_equal(before[v.path], keras.ops.convert_to_numpy(v))]
    return sorted({path.split("/")[-2] for path in changed})


facts["changed"] = {
    "head": trained(()),
    "block3": trained(("block3",)),
    "all": trained(("",)),
    "all and norms": trained(("",), norms=True),
}

# Runs

weights = network.get_weights()
scores = []
for _ in range(2):
    training.restart(network, weights)
    facts["iterations_after_restart"] = int(network.optimizer.iterations)
    again = training.training_data(images, labels, batch=5, seed=1)
    history = network.fit(again, epochs=3, callbacks=[training.cosine(1e-2, 3)], verbose=0, shuffle=False).history
    scores.append(history["loss"])
facts["repeats"] = np.allclose(scores[0], scores[1], rtol=1e-3)
facts["rates"] = [float(rate) for rate in history["learning_rate"]]
predicted = network.predict(images, verbose=0).argmax(axis=1)
facts["accuracy"] = training.accuracy(network, images, labels) == float((predicted == labels).mean())

# Applications

pixels = random.uniform(0, 255, (2, 32, 32, 3)).astype("float32")
for name in ("VGG16", "MobileNetV2", "MobileNetV3Small"):
    model = applications.build_classifier(name, 4, size=32)
    inner = model.get_layer(name.lower())
    own = getattr(keras.applications, applications.PREPROCESSING[name]).preprocess_input(pixels.copy())
    answer = model.predict(pixels, verbose=0)
    by_hand = keras.ops.convert_to_numpy(model.get_layer("head")(inner(own)))
    model.save(folder / "model.keras")
    reloaded = keras.saving.load_model(folder / "model.keras").predict(pixels, verbose=0)
    facts[name] = {
        "shape": list(answer.shape),
        "own_preprocessing": bool(np.allclose(answer, by_hand, atol=1e-5)),
        "reloads": bool(np.array_equal(answer, reloaded)),
        "frozen": [w.path for w in model.trainable_weights],
    }
    if name == "VGG16":
        inner.save_weights(folder / "trunk.weights.h5")
        other = applications.build_classifier(name, 4, folder / "trunk.weights.h5", 32)
        facts["local_file"] = bool(np.allclose(other.predict(pixels, verbose=0), answer, atol=1e-6))
kept = pixels.copy()
caffe = applications.preprocess("ResNet50", pixels)
facts["caffe"] = bool(np.allclose(caffe, kept[..., ::-1] - [103.939, 116.779, 123.68], atol=1e-3))
facts["argument_untouched"] = bool(np.array_equal(pixels, kept))
facts["unknown"] = message(ValueError, lambda: applications.build_classifier("ResNet5", 4))
facts["no_file"] = message(FileNotFoundError, lambda: applications.build_classifier("VGG16", 4, folder / "no.h5", 32))
facts["modules"] = all(
    hasattr(keras.applications, name) and hasattr(getattr(keras.applications, module), "preprocess_input")
    for name, module in applications.PREPROCESSING.items()
)
small = keras.Sequential([
    keras.Input((8, 8, 3)), keras.layers.Conv2D(5, 3, strides=2), keras.layers.DepthwiseConv2D(3),
    keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(7),
])
facts["multiply_adds"] = applications.multiply_adds(small)
facts["torch"] = "torch" in sys.modules
print(json.dumps(facts))
'''


@pytest.fixture(scope="module")
def facts():
    """What the script found out, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


# Data


def test_shifts_move_whole_pixels(facts):
    assert facts["images"] == [12, 32, 32, 1]
    assert facts["shift_changes"]
    assert facts["shift_keeps_values"]


def test_training_batches_hold_every_row_and_new_shifts_each_epoch(facts):
    assert facts["batches"] == [5, 5, 2]
    assert facts["same_rows"]
    assert facts["drawn_anew"]
    assert facts["plain_rows"]


def test_evaluation_keeps_the_order(facts):
    assert facts["in_order"] == [0, 1, 2] * 4


# Freezing


def test_a_network_is_a_backbone_and_a_head_of_logits(facts):
    assert facts["head"] == [None, 3]
    assert facts["norms"] == 9


def test_a_backbone_without_pooling_is_refused(facts):
    assert facts["unpooled"].startswith("expected pooled features (N, d), got (None, 4, 4, 128)")


def test_an_unknown_prefix_is_named(facts):
    assert "no layer of 'glyphnet_backbone' has a name that starts with 'block9'" in facts["no_prefix"]


def test_unfreezing_changes_what_was_named_and_keeps_batch_norm(facts):
    changed = facts["changed"]
    assert changed["head"] == ["head"]
    assert changed["block3"] == ["block3.conv1", "block3.conv2", "block3.shortcut.0", "head"]
    assert "stem" in changed["all"]
    assert not any("bn" in name or name.endswith("shortcut.1") for name in changed["all"])
    assert "stem_bn" in changed["all and norms"]


# Runs


def test_a_restarted_run_repeats_itself(facts):
    assert facts["iterations_after_restart"] == 0
    assert facts["repeats"]


def test_the_rate_follows_half_a_cosine(facts):
    assert facts["rates"] == pytest.approx([1e-2, 7.5e-3, 2.5e-3], rel=1e-4)


def test_accuracy_is_the_share_of_right_answers(facts):
    assert facts["accuracy"]


# Applications


@pytest.mark.parametrize("name", ["VGG16", "MobileNetV2", "MobileNetV3Small"])
def test_a_classifier_takes_raw_pixels_and_brings_its_own_preprocessing(facts, name):
    found = facts[name]
    assert found["shape"] == [2, 4]
    assert found["own_preprocessing"]
    assert found["reloads"]
    assert found["frozen"] == ["head/kernel", "head/bias"]


def test_weights_come_from_a_local_file(facts):
    assert facts["local_file"]
    assert "expected None, 'imagenet' or an existing file" in facts["no_file"]


def test_preprocessing_leaves_its_argument_alone(facts):
    assert facts["caffe"]
    assert facts["argument_untouched"]


def test_an_unknown_network_lists_the_known_ones(facts):
    assert facts["unknown"].startswith("unknown network 'ResNet5': expected one of ['ConvNeXtTiny', ")
    assert facts["modules"]


def test_multiply_adds_are_counted_place_by_place(facts):
    convolution, depthwise, dense = 3 * 3 * (3 * 3 * 3 * 5), 1 * 1 * (3 * 3 * 5), 5 * 7
    assert facts["multiply_adds"] == convolution + depthwise + dense


def test_pytorch_is_not_needed(facts):
    assert not facts["torch"]
