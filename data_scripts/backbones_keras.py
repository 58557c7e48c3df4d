"""Pre-trained backbones in Keras: pictures to pooled features, with the preprocessing that belongs to the weights."""

import importlib
from collections.abc import Callable

import keras
from keras import layers

from data_scripts.backbones import find_backbone
from data_scripts.errors import DownloadError
from data_scripts.glyphnet_keras import build_backbone as build_glyphnet_backbone
from data_scripts.glyphnet_keras import load_backbone as load_glyphnet_backbone
from data_scripts.keras_files import fetch_keras_weights
from data_scripts.squeezenet_keras import build_squeezenet, load_squeezenet

_MODULES = {
    "ResNet50": "resnet50",
    "VGG16": "vgg16",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Large": "mobilenet_v3",
    "EfficientNetB0": "efficientnet",
}

LAST_STAGE = {
    "glyphnet": ("block3",),
    "squeezenet": ("fire8", "fire9"),
    "resnet50": ("conv5_",),
    "vgg16": ("block5_",),
    "mobilenet_v2": ("block_16", "Conv_1"),
    "mobilenet_v3_large": ("expanded_conv_14", "conv_1"),
    "efficientnet_b0": ("block7", "top_"),
}
"""How the names of the last stage's layers begin, for `workbook.methods.keras.training.unfreeze`."""


@keras.saving.register_keras_serializable(package="workbook")
class Preprocess(layers.Layer):
    """The ``preprocess_input`` of a module of ``keras.applications``, on pictures in [0, 1].

    Args:
        module: such as ``"resnet50"``.
    """

    def __init__(self, module: str, **options: object):
        super().__init__(**options)
        self.module = module
        self._preprocess = importlib.import_module(f"keras.applications.{module}").preprocess_input

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Map ``(N, H, W, 3)`` to the same shape."""
        return self._preprocess(255.0 * images)

    def get_config(self) -> dict:
        """Return what `from_config` needs."""
        return super().get_config() | {"module": self.module}


@keras.saving.register_keras_serializable(package="workbook")
class Grey(layers.Layer):
    """Red, green and blue to their mean: ``(N, H, W, 3)`` to ``(N, H, W, 1)``."""

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Map ``(N, H, W, 3)`` to ``(N, H, W, 1)``."""
        return keras.ops.mean(images, axis=-1, keepdims=True)


def load_backbone(name: str, *, pretrained: bool = True) -> keras.Model:
    """Return a backbone: float pictures ``(N, size, size, 3)``, red, green, blue in [0, 1], to features ``(N, d)``.

    Its layers lie flat in the model, none in a model of its own, so that they can be frozen by name (`LAST_STAGE`).

    Args:
        name: one of `data_scripts.backbones.BACKBONES` that Keras has; its ``size`` stands there.
        pretrained: with its public weights, which are fetched when they are not in the cache (Keras keeps its own in
            ``KERAS_HOME``); otherwise at random.

    Raises:
        BackboneError: no such backbone, or PyTorch only.
        DownloadError: its weights are not in the cache and cannot be fetched.
    """
    found = find_backbone(name, "keras")
    shape = (found.size, found.size, 3)
    if name == "glyphnet":
        grey = load_glyphnet_backbone() if pretrained else build_glyphnet_backbone()
        images = keras.Input(shape, name="pictures")
        return _flat(images, Grey(name="grey")(images), grey, name)
    if found.keras == "registry":
        return load_squeezenet() if pretrained else build_squeezenet()
    images = keras.Input(shape, name="pictures")
    # EfficientNet's and MobileNetV3's preprocessing are layers of their own: this one brings pictures to 255 there.
    prepared = Preprocess(_MODULES[found.keras], name="preprocess")(images)
    settings = {"include_top": False, "pooling": "avg", "input_tensor": prepared, "input_shape": shape}
    build = getattr(keras.applications, found.keras)
    network = _with_weights(build, found.keras, settings) if pretrained else build(weights=None, **settings)
    return keras.Model(images, network.output, name=name)


def _with_weights(build: Callable[..., keras.Model], network: str, settings: dict) -> keras.Model:
    """Return a network of keras.applications with the weights in Keras's folder, brought there first."""
    path = fetch_keras_weights(network)
    try:
        # By name and not by path: EfficientNet scales its pictures otherwise when it is given a path.
        return build(weights="imagenet", **settings)
    except (OSError, ValueError, KeyError) as error:
        told = " ".join(str(error).split())[:200]
        raise DownloadError(
            f"{path} does not hold the weights of {network}: {told}. Delete it and run this again"
        ) from error


def _flat(images: keras.KerasTensor, prepared: keras.KerasTensor, network: keras.Model, name: str) -> keras.Model:
    """Return a model of pictures in which the layers of ``network`` follow on what was prepared."""
    outputs = {network.input.name: prepared}
    for layer in network.layers[1:]:
        given = layer.input
        tensors = [outputs[t.name] for t in given] if isinstance(given, list) else outputs[given.name]
        outputs[layer.output.name] = layer(tensors)
    return keras.Model(images, outputs[network.output.name], name=name)
