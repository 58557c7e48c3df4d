"""Networks of keras.applications by name, each with the preprocessing that its weights were trained with."""

from pathlib import Path

import keras
from keras import layers

PREPROCESSING = {
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "ResNet50": "resnet",
    "ResNet101": "resnet",
    "ResNet152": "resnet",
    "ResNet50V2": "resnet_v2",
    "InceptionV3": "inception_v3",
    "Xception": "xception",
    "DenseNet121": "densenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Small": "mobilenet_v3",
    "MobileNetV3Large": "mobilenet_v3",
    "EfficientNetB0": "efficientnet",
    "EfficientNetV2B0": "efficientnet_v2",
    "ConvNeXtTiny": "convnext",
}
"""The module of keras.applications whose ``preprocess_input`` belongs to a network."""


def _module_of(name: str):
    if name not in PREPROCESSING:
        raise ValueError(f"unknown network {name!r}: expected one of {sorted(PREPROCESSING)}")
    return getattr(keras.applications, PREPROCESSING[name])


def preprocess(name: str, images):
    """Return RGB images ``(N, H, W, 3)`` with values 0 to 255 as the named network wants them.

    The array or tensor that is given stays as it is (Keras's own functions may write into it).

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    images = images.astype("float32", copy=True) if hasattr(images, "astype") else images
    return _module_of(name).preprocess_input(images)


def build_classifier(
    name: str, classes: int, weights: str | Path | None = None, size: int = 224, *, seed: int = 0
) -> keras.Model:
    """Build raw RGB images ``(N, size, size, 3)``, values 0 to 255, to logits ``(N, classes)``.

    The network's own preprocessing is part of the model, so that it can be neither forgotten nor swapped, and the
    saved file carries it along. The backbone is frozen; its layer has the network's name in lower case.

    Args:
        name: of a network, one of `PREPROCESSING`.
        classes: outputs of the new head, which has no activation: train it with ``from_logits=True``.
        weights: None for random ones, ``"imagenet"`` for Keras's (a download), or a local file with the weights of
            the network without its top.
        size: height and width of the images; each network has a smallest one (32 to 75 pixels).
        seed: of the head's weights.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
        FileNotFoundError: ``weights`` is neither ``"imagenet"`` nor a file.
    """
    _module_of(name)
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise FileNotFoundError(f"weights={str(weights)!r}: expected None, 'imagenet' or an existing file")
    build = getattr(keras.applications, name)
    backbone = build(
        weights=weights if weights in (None, "imagenet") else str(weights),
        include_top=False,
        pooling="avg",
        input_shape=(size, size, 3),
        name=name.lower(),
    )
    backbone.trainable = False
    images = keras.Input((size, size, 3), name="rgb")
    head = layers.Dense(classes, name="head", kernel_initializer=keras.initializers.GlorotUniform(seed=seed))
    return keras.Model(images, head(backbone(preprocess(name, images))), name=f"{name.lower()}_classifier")


def multiply_adds(model: keras.Model) -> int:
    """Return the multiply-adds of one image through the convolutions and dense layers of a functional model.

    A convolution of a k×k kernel from c to d channels costs k·k·c·d at every place of its output.
    """
    total = 0
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, layers.DepthwiseConv2D | layers.Conv2D):
            _, height, width, _ = layer.output.shape
            total += height * width * int(keras.ops.size(layer.kernel))
        elif isinstance(layer, layers.Dense):
            total += int(keras.ops.size(layer.kernel))
    return total
