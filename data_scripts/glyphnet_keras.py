"""GlyphNet as a Keras model that computes what the PyTorch module computes, from the same weights."""

from pathlib import Path

import keras
import numpy as np
from keras import layers

from data_scripts.glyphnet_weights import WEIGHTS, read_weights

WIDTHS = (24, 64, 128)


def _layer_name(name: str) -> str:
    # On its PyTorch backend Keras refuses a dot in a layer's name.
    return name.replace(".", "-") if keras.backend.backend() == "torch" else name


def _conv(x: keras.KerasTensor, channels: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    # PyTorch pads evenly on all sides; Keras's 'same' with stride 2 pads right and below only.
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=_layer_name(f"{name}_pad"))(x)
    return layers.Conv2D(channels, kernel, stride, use_bias=False, name=_layer_name(name))(x)


def _normalise(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    # PyTorch's epsilon, and its momentum of 0.1, which Keras writes as 0.9.
    return layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=_layer_name(name))(x)


def _block(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    h = layers.ReLU(name=_layer_name(f"{name}.relu1"))(
        _normalise(_conv(x, channels, 3, stride, f"{name}.conv1"), f"{name}.bn1")
    )
    h = _normalise(_conv(h, channels, 3, 1, f"{name}.conv2"), f"{name}.bn2")
    if stride != 1 or x.shape[-1] != channels:
        x = _normalise(_conv(x, channels, 1, stride, f"{name}.shortcut.0"), f"{name}.shortcut.1")
    return layers.ReLU(name=_layer_name(f"{name}.relu2"))(layers.Add(name=_layer_name(f"{name}.add"))([h, x]))


def build_backbone(widths: tuple[int, int, int] = WIDTHS) -> keras.Model:
    """Build the untrained backbone: images ``(N, 32, 32, 1)`` in [0, 1] to pooled features ``(N, 128)``."""
    first, second, third = widths
    images = keras.Input((32, 32, 1), name="images")
    x = layers.ReLU(name="stem_relu")(_normalise(_conv(images, first, 3, 2, "stem"), "stem_bn"))
    x = _block(x, first, 1, "block1")
    x = _block(x, second, 2, "block2")
    x = _block(x, third, 2, "block3")
    return keras.Model(images, layers.GlobalAveragePooling2D(name="features")(x), name="glyphnet_backbone")


def _set_layer(layer: keras.Layer, tensors: dict[str, np.ndarray]) -> None:
    name = layer.name.replace("-", ".")
    if isinstance(layer, layers.Conv2D):
        layer.set_weights([tensors[f"{name}.weight"].transpose(2, 3, 1, 0)])
    elif isinstance(layer, layers.BatchNormalization):
        parts = ("weight", "bias", "running_mean", "running_var")
        layer.set_weights([tensors[f"{name}.{part}"] for part in parts])
    elif isinstance(layer, layers.Dense):
        layer.set_weights([tensors[f"{name}.weight"].T, tensors[f"{name}.bias"]])


def load_backbone(path: Path = WEIGHTS) -> keras.Model:
    """Return the pre-trained backbone: images ``(N, 32, 32, 1)`` in [0, 1] to pooled features ``(N, 128)``.

    Args:
        path: of the weights file; the shipped one unless told otherwise.
    """
    tensors = read_weights(path)
    model = build_backbone()
    for layer in model.layers:
        _set_layer(layer, tensors)
    return model


def load_glyphnet(path: Path = WEIGHTS) -> keras.Model:
    """Return the pre-trained network with its source head: images ``(N, 32, 32, 1)`` to logits ``(N, letters)``.

    Args:
        path: of the weights file; the shipped one unless told otherwise.
    """
    tensors = read_weights(path)
    backbone = load_backbone(path)
    head = layers.Dense(len(tensors["head.bias"]), name="head")
    model = keras.Model(backbone.input, head(backbone.output), name="glyphnet")
    _set_layer(head, tensors)
    return model


def build_glyphnet(classes: int, widths: tuple[int, int, int] = WIDTHS) -> keras.Model:
    """Build the untrained network: images ``(N, 32, 32, 1)`` in [0, 1] to logits ``(N, classes)``.

    Args:
        classes: of the head.
        widths: channels of the three stages.
    """
    backbone = build_backbone(widths)
    return keras.Model(backbone.input, layers.Dense(classes, name="head")(backbone.output), name="glyphnet")


def get_tensors(model: keras.Model) -> dict[str, np.ndarray]:
    """Return a GlyphNet's weights by PyTorch's names, in PyTorch's order of axes: `set_tensors` backwards."""
    tensors = {}
    for layer in model.layers:
        name, values = layer.name.replace("-", "."), layer.get_weights()
        if isinstance(layer, layers.Conv2D):
            tensors[f"{name}.weight"] = values[0].transpose(3, 2, 0, 1)
        elif isinstance(layer, layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            tensors |= {f"{name}.{part}": value for part, value in zip(parts, values, strict=True)}
        elif isinstance(layer, layers.Dense):
            tensors |= {f"{name}.weight": values[0].T, f"{name}.bias": values[1]}
    return tensors


def set_tensors(model: keras.Model, tensors: dict[str, np.ndarray]) -> keras.Model:
    """Give a GlyphNet of this module, changed in place, the weights of a PyTorch one of the same widths.

    Args:
        model: backbone, or backbone and head.
        tensors: by PyTorch's names, as in a state dict.

    Raises:
        KeyError: a tensor is missing.
    """
    for layer in model.layers:
        _set_layer(layer, tensors)
    return model
