"""SqueezeNet's public weights in both frameworks, on real photographs from the mirror folder."""

import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from data_scripts.ants_bees import load_ants_bees
from data_scripts.download import mirror_folder
from data_scripts.errors import DataError
from data_scripts.squeezenet_torch import SqueezeNet, load_squeezenet
from data_scripts.squeezenet_weights import FIRES, LAYERS, preprocess, read_squeezenet


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    if mirror_folder() is None:
        pytest.skip("WORKBOOK_MIRROR is not set: this test reads public weights and photographs from a mirror folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBOOK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield patch


@pytest.fixture(scope="module")
def task(cache):
    start = time.perf_counter()
    task = load_ants_bees()
    task_seconds = time.perf_counter() - start
    assert task_seconds < 15, f"decoding took {task_seconds:.0f} s"
    return task


@torch.inference_mode()
def features(network, pictures):
    batches = torch.from_numpy(pictures).split(32)
    return torch.cat([network(batch.permute(0, 3, 1, 2).float() / 255) for batch in batches]).numpy()


@pytest.fixture(scope="module")
def extracted(task):
    return features(load_squeezenet(), task.inputs)


def test_the_published_rows_are_there(task):
    assert (task.class_names, len(task.train) + len(task.validation), len(task.test)) == (("ants", "bees"), 244, 153)
    assert not [notice for notice in task.notices if "skipped" in notice]


def score(inputs, task):
    """Accuracy on test rows of logistic regression on unit-length features, its strength chosen on training rows."""
    train = np.concatenate([task.train, task.validation])
    pipeline = make_pipeline(Normalizer(), LogisticRegression(max_iter=3000))
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0)
    search = GridSearchCV(pipeline, {"logisticregression__C": np.logspace(-4, 3, 15)}, cv=folds)
    return search.fit(inputs[train], task.labels[train]).score(inputs[task.test], task.labels[task.test])


def test_frozen_features_tell_ants_from_bees_and_random_ones_do_not(extracted, task):
    right = round(score(extracted, task) * len(task.test))
    interval = binomtest(right, len(task.test)).proportion_ci(method="wilson")
    assert right / len(task.test) >= 0.90
    torch.manual_seed(0)
    random = score(features(SqueezeNet().eval(), task.inputs), task)
    assert random < 0.75
    assert random < interval.low


KERAS = """
import sys
import numpy as np
from workbook.lesson import begin
begin("keras")
from data_scripts.squeezenet_keras import load_squeezenet
model = load_squeezenet()
model.save(sys.argv[2])
import keras
model = keras.saving.load_model(sys.argv[2])
np.save(sys.argv[1] + ".npy", model.predict(np.load(sys.argv[1]) / np.float32(255), verbose=0))
"""


def test_keras_computes_the_same_features_and_survives_being_saved(extracted, task, tmp_path, cache):
    np.save(tmp_path / "pictures.npy", task.inputs[:16])
    subprocess.run(
        [sys.executable, "-c", KERAS, str(tmp_path / "pictures.npy"), str(tmp_path / "model.keras")],
        check=True,
        capture_output=True,
    )
    ours = np.load(tmp_path / "pictures.npy.npy")
    assert ours.shape == (16, 512)
    assert np.abs(ours - extracted[:16]).max() < 1e-3


def test_the_preprocessing_is_the_one_of_the_weights(extracted, task):
    prepared = torch.from_numpy(preprocess(task.inputs[:8])).permute(0, 3, 1, 2).contiguous()
    with torch.inference_mode():
        by_hand = load_squeezenet().layers(prepared).mean(dim=(2, 3)).numpy()
    assert np.abs(by_hand - extracted[:8]).max() < 1e-3
    assert preprocess(np.array([[255, 0, 0]]))[0] == pytest.approx([-103.939, -116.779, 255 - 123.68], abs=1e-4)


@pytest.fixture
def same_format(tmp_path):
    """Write random weights in the file's format."""
    generator = np.random.default_rng(0)
    path = tmp_path / "weights.h5"
    squeezenet = SqueezeNet()
    shapes = [tuple(p.shape) for p in squeezenet.layers.parameters() if p.ndim == 4]
    with h5py.File(path, "w") as file:
        for number, (layer, (out, into, height, width)) in enumerate(zip(LAYERS, shapes, strict=True)):
            group = file.create_group(layer)
            names = [f"uniform{number}", f"{layer}_b"]
            group.attrs["weight_names"] = np.array([name.encode() for name in names])
            group[names[0]] = generator.normal(size=(height, width, into, out)).astype(np.float32)
            group[names[1]] = generator.normal(size=out).astype(np.float32)
    return path


def test_every_array_finds_its_place_in_torchvision_s_module(same_format):
    arrays = read_squeezenet(same_format)
    network = load_squeezenet(same_format)
    assert len(arrays) == 1 + 3 * len(FIRES)
    assert torch.equal(network.layers[0].weight, torch.from_numpy(arrays["conv1"][0].transpose(3, 2, 0, 1).copy()))
    fire9 = network.layers[12]
    assert torch.equal(fire9.expand3x3.bias, torch.from_numpy(arrays["fire9/expand3x3"][1]))
    assert not network.training


def test_a_file_of_another_network_is_refused(same_format, tmp_path):
    with h5py.File(same_format, "a") as file:
        del file["fire9"]
    with pytest.raises(DataError, match="does not hold SqueezeNet"):
        read_squeezenet(same_format)
    (tmp_path / "page.h5").write_text("<html>")
    with pytest.raises(DataError, match="does not hold SqueezeNet"):
        read_squeezenet(tmp_path / "page.h5")
