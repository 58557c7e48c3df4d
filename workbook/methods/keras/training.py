"""Fine-tuning with Keras: data with augmentation in its place, freezing that reaches batch normalisation, training."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def as_images(inputs: np.ndarray) -> np.ndarray:
    """Turn float32 images ``(N, H, W)`` into ``(N, H, W, 1)``: Keras keeps channels last."""
    return np.asarray(inputs, dtype=np.float32)[..., None]


def random_shift(reach: int = 2, size: int = 32, *, seed: int = 0) -> keras.Layer:
    """Return a layer that shifts every image by up to ``reach`` whole pixels; what comes in repeats the edge.

    Args:
        reach: largest shift, in pixels.
        size: height and width of the images, in pixels.
        seed: of the shifts.
    """
    share = reach / size
    return layers.RandomTranslation(share, share, fill_mode="nearest", interpolation="nearest", seed=seed)


def training_data(
    inputs: np.ndarray, labels: np.ndarray, *, batch: int, seed: int, augment: Callable | None = None
) -> tf.data.Dataset:
    """Return training batches: cached, shuffled anew every epoch, augmented *after* the cache.

    Args:
        inputs: ``(n, H, W, C)``.
        labels: ``(n,)``.
        batch: images a step.
        seed: of the order.
        augment: a layer or function of a batch of images, called with ``training=True``; None leaves them alone.
    """
    data = tf.data.Dataset.from_tensor_slices((inputs, labels)).cache()
    data = data.shuffle(len(labels), seed=seed, reshuffle_each_iteration=True).batch(batch)
    if augment is not None:
        data = data.map(lambda images, answers: (augment(images, training=True), answers))
    return data.prefetch(1)


def evaluation_data(inputs: np.ndarray, labels: np.ndarray, *, batch: int = 256) -> tf.data.Dataset:
    """Return batches in the rows' own order, never augmented."""
    return tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(batch).cache()


def build_network(backbone: keras.Model, classes: int, *, seed: int = 0) -> keras.Model:
    """Put a new linear head on a backbone: images to logits ``(N, classes)``.

    Args:
        backbone: maps images to pooled features ``(N, d)``; shared with the result, not copied.
        classes: outputs of the head, which has no activation: train it with ``from_logits=True``.
        seed: of the head's weights.

    Raises:
        ValueError: the backbone's features are not pooled.
    """
    if len(backbone.output_shape) != 2:
        raise ValueError(
            f"expected pooled features (N, d), got {backbone.output_shape}: end the backbone in a global pooling layer"
        )
    head = layers.Dense(classes, name="head", kernel_initializer=keras.initializers.GlorotUniform(seed=seed))
    images = keras.Input(backbone.input_shape[1:], name="pictures")
    return keras.Model(images, head(backbone(images)), name="classifier")


def norm_layers(model: keras.Model) -> list[keras.Layer]:
    """Return the model's batch-normalisation layers, those of nested models included."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization)]


def unfreeze(backbone: keras.Model, prefixes: Sequence[str] = ("",), *, norms: bool = False) -> None:
    """Let the backbone's layers train whose names start with a prefix; freeze the others. Compile afterwards.

    Batch normalisation stays frozen unless ``norms``: in Keras 3 a layer with ``trainable = False`` uses and keeps its
    moving statistics, and nothing else ensures it, ``base(x, training=False)`` included (Keras issue 20285).

    Args:
        backbone: changed in place.
        prefixes: of layer names; the empty one, the default, stands for every layer, and no prefix freezes all.
        norms: whether the chosen layers' batch normalisation trains too.

    Raises:
        ValueError: a prefix that no layer's name has; the message names it.
    """
    backbone.trainable = True
    names = [layer.name for layer in backbone.layers]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise ValueError(f"no layer of {backbone.name!r} has a name that starts with {prefix!r}; it has {names}")
    for layer in backbone.layers:
        layer.trainable = layer.name.startswith(tuple(prefixes)) if prefixes else False
    if not norms:
        for layer in norm_layers(backbone):
            layer.trainable = False


def compile_network(model: keras.Model, learning_rate: float, *, weight_decay: float = 0.01) -> keras.Model:
    """Compile for classes numbered from 0, logits as outputs, AdamW. To be called after every change of what trains."""
    model.compile(
        keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def restart(model: keras.Model, weights: Sequence[np.ndarray]) -> None:
    """Put weights back and forget the optimiser's moments: a new run of a compiled model, without compiling again."""
    model.set_weights(weights)
    for variable in model.optimizer.variables:
        if variable is not model.optimizer.learning_rate:
            variable.assign(keras.ops.zeros_like(variable))


def cosine(peak: float, epochs: int) -> keras.callbacks.Callback:
    """Return a callback that lowers the rate from ``peak`` along half a cosine, epoch by epoch."""
    return keras.callbacks.LearningRateScheduler(lambda epoch: peak * (1 + np.cos(np.pi * epoch / epochs)) / 2)


def accuracy(model: keras.Model, inputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images whose largest output is at their label."""
    guesses = model.predict(inputs, batch_size=256, verbose=0).argmax(axis=1)
    return float((guesses == labels).mean())
