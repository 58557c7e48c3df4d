"""Backbones in Keras, with files of the official names and format that the tests make themselves: no network is asked.

Keras and PyTorch do not share a process, so what needs Keras runs in one of its own, once.
"""

import json
import os
import subprocess
import sys

import pytest

from data_scripts.backbones import BACKBONES
from data_scripts.download import bring
from data_scripts.errors import DownloadError
from data_scripts.keras_files import KERAS_FILES, KerasFile, fetch_keras_weights, keras_models_folder
from workbook.paths import ROOT

SCRIPT = """
import dataclasses, hashlib, json, sys, tempfile, urllib.request
from pathlib import Path
from workbook import start_keras

start_keras.start(0)
import h5py
import keras
import numpy as np
from keras.src.utils import file_utils
from data_scripts import keras_files
from data_scripts.backbones import BACKBONES
from data_scripts.backbones_keras import LAST_STAGE, load_backbone
from data_scripts.errors import DownloadError
from workbook.methods.keras.training import unfreeze

asked, made, checked = [], {}, []


def refuse(url, *_):
    asked.append(url)
    raise OSError("no network in this test")


urllib.request.urlretrieve = file_utils.urlretrieve = refuse
validate = file_utils.validate_file


def validate_file(path, expected, **settings):
    # Keras's own check, with the made file's hash where Keras expects its publisher's.
    checked.append(expected)
    return validate(path, made.get(expected, expected), **settings)


file_utils.validate_file = validate_file


def randomise(model, seed):
    random = np.random.default_rng(seed)
    for layer in model.layers:
        values = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            values = [random.uniform(0.5, 1.5, v.shape) for v in values]
        elif values and values[0].ndim:  # kernels are random already
            values = [v + random.normal(0, 0.01, v.shape) if v.ndim < 2 else v for v in values]
        layer.set_weights([np.asarray(v, "float32") for v in values])


def write(model, path):
    # The layout of Keras 1 and 2: layers by order, each a group with its weights' names.
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/weight_{i}:0" for i in range(len(layer.get_weights()))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights()):
                group[name] = value


def run(model, pictures):
    return keras.ops.convert_to_numpy(model(pictures, training=False))


pictures = np.random.default_rng(0).random((1, 224, 224, 3)).astype("float32")
facts = {}
for name, backbone in BACKBONES.items():
    network = backbone.keras
    if name not in sys.argv[1:]:
        continue
    model = load_backbone(name, pretrained=False)
    found = facts[name] = {"width": model.output_shape[-1]}
    found["flat"] = not any(isinstance(layer, keras.Model) for layer in model.layers)
    unfreeze(model, LAST_STAGE[name])
    trained = [layer for layer in model.layers if layer.trainable and layer.weights]
    found["last stage"] = [len(trained), len([layer for layer in model.layers if layer.weights])]
    found["at the end"] = model.layers.index(trained[0]) / len(model.layers)
    if network in ("shipped", "registry"):
        continue
    given = model.get_layer("preprocess")
    module = getattr(keras.applications, given.module)
    found["preprocessing"] = float(np.abs(run(given, pictures) - module.preprocess_input(255 * pictures)).max())
    randomise(model, 1)
    file = keras_files.KERAS_FILES[network]
    path = keras_files.keras_models_folder() / file.name
    path.parent.mkdir(exist_ok=True)
    write(model, path)
    content = path.read_bytes()
    digest = hashlib.md5(content).hexdigest()
    official = file.hash.removeprefix("md5:")
    keras_files.KERAS_FILES[network] = dataclasses.replace(file, size=len(content), hash=official and f"md5:{digest}")
    if official:
        made[official] = digest
    loaded = load_backbone(name)
    ours = [w for layer in model.layers for w in layer.get_weights()]
    theirs = [w for layer in loaded.layers for w in layer.get_weights()]
    found["weights"] = len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))
    found["hash checked"] = checked == ([official] if official else [])
    checked.clear()
    if not name.startswith("mobilenet"):  # what follows is the same for all: two small networks, one without a hash
        continue
    features = run(loaded, pictures)
    found["finite"] = bool(np.isfinite(features).all() and features.std() > 0)
    found["features"] = float(np.abs(features - run(model, pictures)).max() / np.abs(features).max())

    def told():
        try:
            load_backbone(name)
        except DownloadError as error:
            return str(error)
        return ""

    if official:  # what our check would let through, Keras's own does not
        saved = Path(tempfile.mkdtemp()) / "backbone.keras"
        loaded.save(saved)
        found["reloads"] = bool(np.array_equal(run(keras.saving.load_model(saved), pictures), features))
        made[official] = "0" * 32
        found["Keras's hash"] = told()
        path.write_bytes(content)
    path.write_bytes(content[:-100])
    found["cut off"] = told()
    path.write_bytes(bytes(len(content)))
    found["other bytes"] = told()
    checked.clear()
facts["asked"] = asked
print(json.dumps(facts))
"""

NETWORKS = [name for name, backbone in BACKBONES.items() if backbone.keras]
OFFICIAL = [name for name in NETWORKS if BACKBONES[name].keras in KERAS_FILES]
SMALL = ["mobilenet_v2", "mobilenet_v3_large"]  # tried further than the others, to save time


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """What the script found out."""
    settings = {"KERAS_HOME": str(tmp_path_factory.mktemp("keras")), "WORKBOOK_MIRROR": ""}
    command = [sys.executable, "-c", SCRIPT, *NETWORKS]
    environment = os.environ | settings | {"KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_backbone_of_keras_is_tried(facts):
    assert OFFICIAL == ["resnet50", "vgg16", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0"]
    assert {name: facts[name]["width"] for name in NETWORKS} == {
        "glyphnet": 128,
        "squeezenet": 512,
        "resnet50": 2048,
        "vgg16": 512,
        "mobilenet_v2": 1280,
        "mobilenet_v3_large": 960,
        "efficientnet_b0": 1280,
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_stage_is_a_part_at_the_end(facts, name):
    trained, all_of_them = facts[name]["last stage"]
    assert 0 < trained < all_of_them / 2
    assert facts[name]["at the end"] > 0.5
    assert facts[name]["flat"]


@pytest.mark.parametrize("name", OFFICIAL)
def test_keras_loads_the_file_from_its_folder(facts, name):
    assert facts[name]["weights"]


@pytest.mark.parametrize("name", OFFICIAL)
def test_preprocessing_is_keras_s_own(facts, name):
    assert facts[name]["preprocessing"] < 1e-4


@pytest.mark.parametrize("name", OFFICIAL)
def test_keras_checks_its_hash_where_it_has_one(facts, name):
    assert facts[name]["hash checked"]


@pytest.mark.parametrize("name", SMALL)
def test_loaded_weights_give_the_features_of_the_network_that_wrote_them(facts, name):
    assert facts[name]["finite"]
    assert facts[name]["features"] < 1e-5


def test_a_saved_backbone_reloads(facts):
    assert facts["mobilenet_v3_large"]["reloads"]


@pytest.mark.parametrize("name", SMALL)
def test_a_file_that_is_cut_off_is_refused_and_named(facts, name):
    file = KERAS_FILES[BACKBONES[name].keras]
    told = facts[name]["cut off"]
    assert f"{file.name} is not the file of that name, or it is cut off: expected" in told
    assert file.urls[0] in told


@pytest.mark.parametrize("name", SMALL)
def test_other_bytes_are_refused(facts, name):
    told = facts[name]["other bytes"]
    # Keras has no hash of MobileNetV2's: there a file of the right size is opened, and found to hold something else.
    expected = "does not hold the weights of MobileNetV2" if name == "mobilenet_v2" else "expected MD5"
    assert expected in told


def test_keras_refuses_another_hash_than_its_own(facts):
    assert "does not hold the weights of MobileNetV3Large" in facts["mobilenet_v3_large"]["Keras's hash"]


def test_nothing_but_keras_s_second_opinion_asked_for_a_download(facts):
    assert facts["asked"] == [KERAS_FILES["MobileNetV3Large"].urls[0]]


# Where the file comes from: no Keras needed


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Keras's folder, empty, a mirror folder, empty, and hosts that no test may ask."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("WORKBOOK_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setattr("data_scripts.download._get", no_network)
    (tmp_path / "mirror").mkdir()
    return tmp_path


def no_network(url, *_):
    from data_scripts.download import _TryFailed

    raise _TryFailed("no connection")


def test_without_file_and_network_the_error_says_what_to_do_by_hand(home):
    with pytest.raises(DownloadError) as caught:
        fetch_keras_weights("ResNet50")
    told = str(caught.value)
    assert "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5 could not be fetched (94.8 MB, licence MIT)" in told
    assert "storage.googleapis.com/tensorflow/keras-applications/resnet/resnet50_weights" in told
    assert f"put it into the folder {home / 'keras' / 'models'}" in told
    assert "WORKBOOK_MIRROR" in told
    assert not list((home / "keras" / "models").glob("*.h5"))


def test_the_mirror_folder_serves_it(home, monkeypatch):
    content = b"weights" * 100
    file = KerasFile("some.h5", ("https://example.org/some.h5",), len(content), "MIT", "", "a test")
    monkeypatch.setattr("data_scripts.keras_files.KERAS_FILES", {"Some": file})
    (home / "mirror" / "some.h5").write_bytes(content)
    assert fetch_keras_weights("Some") == home / "keras" / "models" / "some.h5"
    assert (home / "keras" / "models" / "some.h5").read_bytes() == content
    assert bring(file, folder=home / "elsewhere").read_bytes() == content


def test_a_wrong_file_in_the_mirror_folder_is_refused(home):
    name = KERAS_FILES["MobileNetV2"].name
    (home / "mirror" / name).write_bytes(b"something else")
    with pytest.raises(DownloadError, match=r"is not mobilenet_v2\S+: expected 9,406,464 bytes, got 14"):
        fetch_keras_weights("MobileNetV2")
    assert not (home / "keras" / "models" / name).exists()


def test_a_wrong_file_in_keras_s_folder_is_left_alone(home):
    path = keras_models_folder() / KERAS_FILES["VGG16"].name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(DownloadError, match="expected MD5 6d6bbae143d832006294945121d1f1fc, got"):
        fetch_keras_weights("VGG16")
    assert path.read_bytes() == b"mine"
