"""The Keras half of the parity check, in a process of its own: ``python -m workbook.methods.keras.parity_run IN OUT``.

It reads an npz file with a JSON list of jobs and the arrays that they name, and writes an npz file with what each job
measured. `workbook.methods.parity.run_keras` starts it; nothing else should need to.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

# Silences TensorFlow: it has to come before Keras.
from workbook import start_keras  # isort: skip
import keras
from keras import layers

from data_scripts.glyphnet_keras import load_backbone
from workbook.methods.parity import do_jobs

Arrays = Mapping[str, np.ndarray]


def with_conventions(model: keras.Model, *, epsilon: float, momentum: float, same: bool) -> keras.Model:
    """Return a copy of GlyphNet, with its weights, under other conventions.

    Args:
        model: as `data_scripts.glyphnet_keras` builds it: PyTorch's conventions.
        epsilon: of batch normalisation; PyTorch's default is 1e-5, Keras's 1e-3.
        momentum: of its moving statistics in Keras's sense; PyTorch's default is 0.9, Keras's 0.99.
        same: let Keras pad ('same') in place of the explicit padding by one pixel on every side.
    """

    def change(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if isinstance(layer, layers.BatchNormalization):
            config |= {"epsilon": epsilon, "momentum": momentum}
        elif same and isinstance(layer, layers.ZeroPadding2D):
            config["padding"] = 0
        elif same and isinstance(layer, layers.Conv2D):
            config["padding"] = "same"
        return type(layer).from_config(config)

    changed = keras.models.clone_model(model, clone_function=change)
    changed.set_weights(model.get_weights())
    return changed


def glyphnet(job: Mapping, classes: int) -> keras.Model:
    """Return the pre-trained network with a head of zeros: images ``(N, 32, 32, 1)`` to logits ``(N, classes)``."""
    conventions = {"epsilon": 1e-5, "momentum": 0.9, "same": False} | job.get("conventions", {})
    backbone = with_conventions(load_backbone(), **conventions)
    head = layers.Dense(classes, kernel_initializer="zeros", name="head")
    return keras.Model(backbone.input, head(backbone.output))


def set_head(model: keras.Model, arrays: Arrays, name: str) -> None:
    """Give the head PyTorch's values: ``name.weight`` ``(classes, 128)`` and ``name.bias`` ``(classes,)``."""
    model.get_layer("head").set_weights([arrays[f"{name}.weight"].T, arrays[f"{name}.bias"]])


def optimiser(settings: Mapping) -> keras.Optimizer:
    """Make ``{"name": "SGD" or "AdamW", …}`` with Keras's names for the rest of its settings."""
    return {"SGD": keras.optimizers.SGD, "AdamW": keras.optimizers.AdamW}[settings["name"]](
        **{name: value for name, value in settings.items() if name != "name"}
    )


def logits_job(arrays: Arrays, job: Mapping) -> dict[str, np.ndarray]:
    """Return the logits of ``job["images"]`` in evaluation mode."""
    model = glyphnet(job, len(arrays[f"{job['head']}.bias"]))
    set_head(model, arrays, job["head"])
    return {"logits": model.predict(arrays[job["images"]], batch_size=256, verbose=0)}


def train_job(arrays: Arrays, job: Mapping) -> dict[str, np.ndarray]:
    """Train once for every head on the batches ``(steps, batch)`` of the order beside it, each time from the start.

    Returns:
        ``losses`` (runs, steps), and ``logits`` (runs, n, classes) of ``job["test"]``.
    """
    model = glyphnet(job, len(arrays[f"{job['heads'][0]}.bias"]))
    model.compile(optimiser(job["optimiser"]), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    start = model.get_weights(), [variable.numpy() for variable in model.optimizer.variables]
    images, labels = arrays[job["images"]], arrays[job["labels"]]
    runs: dict[str, list] = {"losses": [], "logits": []}
    for head, order in zip(job["heads"], job["orders"], strict=True):
        # One compiled step serves all runs: weights and the optimiser's memory go back to their start.
        model.set_weights(start[0])
        for variable, value in zip(model.optimizer.variables, start[1], strict=True):
            variable.assign(value)
        set_head(model, arrays, head)
        losses = []
        for rows in arrays[order]:
            model.reset_metrics()  # what train_on_batch returns is a running mean since the last reset
            losses.append(float(model.train_on_batch(images[rows], labels[rows])))
        runs["losses"].append(losses)
        runs["logits"].append(model.predict(arrays[job["test"]], batch_size=256, verbose=0))
    return {name: np.array(values) for name, values in runs.items()}


def statistics_job(arrays: Arrays, job: Mapping) -> dict[str, np.ndarray]:
    """Pass ``job["images"]`` once in training mode; return a layer's moving ``mean`` and ``variance`` after it."""
    backbone = with_conventions(load_backbone(), epsilon=1e-5, momentum=0.9, same=False)
    backbone(arrays[job["images"]], training=True)
    mean, variance = backbone.get_layer(job["layer"]).get_weights()[2:]
    return {"mean": mean, "variance": variance}


def path_job(arrays: Arrays, job: Mapping) -> dict[str, np.ndarray]:
    """Return where an optimiser takes weights ``(n,)`` under given gradients ``(steps, n)`` and rates ``(steps,)``."""
    weights, rule = keras.Variable(arrays[job["start"]]), optimiser(job["optimiser"])
    path = []
    for gradient, rate in zip(arrays[job["gradients"]], arrays[job["rates"]], strict=True):
        rule.learning_rate.assign(float(rate))
        rule.apply([keras.ops.convert_to_tensor(gradient)], [weights])
        path.append(keras.ops.convert_to_numpy(weights))
    return {"path": np.stack(path)}


JOBS: dict[str, Callable[[Arrays, Mapping], dict[str, np.ndarray]]] = {
    "logits": logits_job,
    "train": train_job,
    "statistics": statistics_job,
    "path": path_job,
}


if __name__ == "__main__":
    do_jobs(Path(sys.argv[1]), Path(sys.argv[2]), JOBS, start_keras.start)
