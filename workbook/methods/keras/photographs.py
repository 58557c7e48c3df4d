"""Photographs in Keras: batches that are converted as they are needed, features computed once, a model of raw bytes."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def picture_batches(
    pictures: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    batch: int = 32,
    seed: int | None = None,
    augment: Callable | None = None,
) -> tf.data.Dataset:
    """Return batches of float pictures ``(n, H, W, 3)`` in [0, 1], with their labels where these are given.

    Row numbers travel through the pipeline and are looked up batch by batch, so that thousands of pictures are never
    held as floats. Augmentation comes last, after the shuffling and with no cache behind it: it is drawn anew for
    every picture in every epoch.

    Args:
        pictures: uint8 ``(N, H, W, 3)``; not copied.
        rows: which of them.
        labels: ``(N,)``, of all pictures; None gives pictures alone, as ``predict`` wants them.
        batch: pictures at a time.
        seed: of the order, drawn anew every epoch; None keeps the rows' own order.
        augment: a layer or function of a batch of pictures, called with ``training=True``.
    """
    shape = (None, *pictures.shape[1:])

    def look_up(chosen: tf.Tensor) -> tf.Tensor:
        found = tf.numpy_function(lambda which: pictures[which], [chosen], tf.uint8)
        floats = tf.cast(tf.ensure_shape(found, shape), tf.float32) / 255
        return floats if augment is None else augment(floats, training=True)

    data = tf.data.Dataset.from_tensor_slices(np.asarray(rows, np.int64))
    if seed is not None:
        data = data.shuffle(max(1, len(rows)), seed=seed, reshuffle_each_iteration=True)
    data = data.batch(batch)
    if labels is None:
        return data.map(look_up).prefetch(1)
    answers = tf.constant(labels)
    return data.map(lambda chosen: (look_up(chosen), tf.gather(answers, chosen))).prefetch(1)


def extract(backbone: keras.Model, pictures: np.ndarray, *, batch: int = 32) -> np.ndarray:
    """Return the features ``(N, d)`` of uint8 pictures ``(N, H, W, 3)``, in their own order."""
    return backbone.predict(picture_batches(pictures, np.arange(len(pictures)), batch=batch), verbose=0)


def photo_augmentation(size: int, *, flip: bool, reach: float = 0.08, seed: int = 0) -> keras.Sequential:
    """Return layers that shift every picture by up to ``reach`` of its side, and mirror one in two if ``flip``.

    What comes in at an edge repeats it. Ask for ``flip`` where a mirrored picture keeps its label: not for writing.

    Args:
        size: height and width, in pixels.
        flip: whether to mirror left and right.
        reach: largest shift as a share of the side; whole pixels are shifted.
        seed: of shifts and mirrorings.
    """
    share = max(1, round(reach * size)) / size
    steps = [layers.RandomTranslation(share, share, fill_mode="nearest", interpolation="nearest", seed=seed)]
    if flip:
        steps.append(layers.RandomFlip("horizontal", seed=seed + 1))
    return keras.Sequential([keras.Input((size, size, 3)), *steps], name="augmentation")


def of_bytes(network: keras.Model) -> keras.Model:
    """Return a model of uint8 pictures, 0 to 255, around one of floats in [0, 1]: nothing is left to be forgotten."""
    raw = keras.Input(network.input_shape[1:], dtype="uint8", name="bytes")
    return keras.Model(raw, network(layers.Rescaling(1 / 255, name="to_unit")(raw)), name="classifier_of_bytes")
