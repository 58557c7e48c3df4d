"""SqueezeNet 1.1 as a Keras model, with the weights of `data_scripts.squeezenet_weights`."""

from pathlib import Path

import keras
from keras import layers

from data_scripts.download import fetch
from data_scripts.squeezenet_weights import FILE, FIRES, MEAN_BGR, SIZE, read_squeezenet


def _conv(x: keras.KerasTensor, channels: int, kernel: int, name: str, stride: int = 1) -> keras.KerasTensor:
    padding = "valid" if stride > 1 else "same"
    # On its PyTorch backend Keras refuses a slash or a dot in a layer's name.
    return layers.Conv2D(channels, kernel, stride, padding, activation="relu", name=name.replace("/", "_"))(x)


def build_squeezenet() -> keras.Model:
    """Build the untrained network: pictures ``(N, 224, 224, 3)``, red, green, blue in [0, 1], to features ``(N, 512)``.

    As in the PyTorch module, bringing them to 255 less their means is part of the network. Red, green and blue are not
    turned round: `load_squeezenet` turns the first kernel round in their place, so that the saved model needs no code.
    """
    images = keras.Input((SIZE, SIZE, 3), name="images")
    x = layers.Rescaling(255.0, name="to_255")(images)
    x = layers.Normalization(mean=MEAN_BGR[::-1], variance=(1.0, 1.0, 1.0), name="less_mean")(x)
    x = _conv(x, 64, 3, "conv1", stride=2)
    for number, (squeezed, expanded) in FIRES.items():
        if number in (2, 4, 6):
            x = layers.MaxPooling2D(3, 2, name=f"pool{number - 1}")(x)
        x = _conv(x, squeezed, 1, f"fire{number}/squeeze1x1")
        x = layers.Concatenate(name=f"fire{number}_concat")(
            [_conv(x, expanded, 1, f"fire{number}/expand1x1"), _conv(x, expanded, 3, f"fire{number}/expand3x3")]
        )
    return keras.Model(images, layers.GlobalAveragePooling2D(name="features")(x), name="squeezenet")


def load_squeezenet(path: Path | None = None) -> keras.Model:
    """Return SqueezeNet with its ImageNet weights.

    Args:
        path: of the weights file; fetched (see `data_scripts.download`) unless given.

    Raises:
        DownloadError: the file is not in the cache and cannot be fetched.
        DataError: the file holds something else.
    """
    model = build_squeezenet()
    arrays = read_squeezenet(path or fetch(FILE))
    kernel, bias = arrays["conv1"]
    arrays["conv1"] = kernel[:, :, ::-1], bias
    for layer, weights in arrays.items():
        model.get_layer(layer.replace("/", "_")).set_weights(weights)
    return model
