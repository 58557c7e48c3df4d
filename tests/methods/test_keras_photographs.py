"""Batches of photographs in Keras: conversion, order, augmentation, the model of bytes; Keras in its own process."""

import json
import os
import subprocess
import sys

import pytest

from workbook.paths import ROOT

SCRIPT = """
import json
from workbook import start_keras

start_keras.start(0)
import keras
import numpy as np
from workbook.methods.keras.photographs import extract, of_bytes, photo_augmentation, picture_batches

pictures = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8)
labels, rows, facts = np.arange(10) % 3, np.array([7, 2, 5, 0, 9]), {}


def joined(data):
    return [np.concatenate(parts) for parts in zip(*((x.numpy(), y.numpy()) for x, y in data))]


x, y = joined(picture_batches(pictures, rows, labels, batch=2))
facts["in order"] = bool(np.allclose(x, pictures[rows] / 255, atol=1e-6) and (y == labels[rows]).all())
data = picture_batches(pictures, rows, labels, batch=2, seed=0)
first, second = joined(data), joined(data)
facts["shuffled anew"] = not np.array_equal(first[0], second[0])
lookup = {pictures[row].tobytes(): labels[row] for row in rows}
facts["labels stay"] = all(lookup[np.round(a * 255).astype("uint8").tobytes()] == b for a, b in zip(*first))

augment = photo_augmentation(32, flip=True)
one = picture_batches(pictures, rows[:1], augment=augment)
facts["drawn anew"] = len({next(iter(one)).numpy().tobytes() for _ in range(6)})
plain = photo_augmentation(32, flip=False, reach=0.01)
seen = {next(iter(picture_batches(pictures, rows[:1], augment=plain))).numpy().tobytes() for _ in range(12)}
source = pictures[rows[0]].astype("float32") / 255
padded = np.pad(source, ((1, 1), (1, 1), (0, 0)), mode="edge")
shifts = [padded[i : i + 32, j : j + 32] for i in range(3) for j in range(3)]
close = [min(np.abs(np.frombuffer(s, "float32").reshape(32, 32, 3) - t).max() for t in shifts) for s in seen]
facts["whole pixels, no mirror"] = bool(max(close) < 1e-5)

inputs = keras.Input((32, 32, 3))
network = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
facts["features"] = bool(np.allclose(extract(network, pictures, batch=3), pictures.mean(axis=(1, 2)) / 255, atol=1e-5))
facts["bytes"] = bool(np.allclose(of_bytes(network).predict(pictures, verbose=0), pictures.mean(axis=(1, 2)) / 255))
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def facts():
    """What the script found out."""
    environment = os.environ | {"KERAS_BACKEND": "tensorflow"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "fact", ["in order", "shuffled anew", "labels stay", "whole pixels, no mirror", "features", "bytes"]
)
def test_pictures_arrive_as_they_should(facts, fact):
    assert facts[fact]


def test_augmentation_is_drawn_anew_at_every_pass(facts):
    assert facts["drawn anew"] >= 3
