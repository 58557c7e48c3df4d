"""SqueezeNet 1.1 trained on ImageNet: its weights from a Keras 1 file, and the preprocessing that belongs to them.

Source of the network: F. N. Iandola et al., arXiv:1602.07360, version 1.1; of the file: R. C. Malli, keras-squeezenet,
release v1.0. It holds no classifier head: 25 convolutions up to ``fire9``.
"""

from pathlib import Path

import numpy as np

from data_scripts.errors import DataError

FILE = "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"
"""Its name in ``registry.toml``."""
SIZE = 224
"""Side of the pictures, in pixels. At this size every pooling comes out even, so that PyTorch's rounding up and
Keras's rounding down agree."""
FEATURES = 512
MEAN_BGR = (103.939, 116.779, 123.68)
"""Mean of ImageNet's blue, green and red, of 255, as the weights' trainers subtracted it (Caffe's convention)."""
FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}
"""Fire module → channels after squeezing, and of each of its two expansions."""
LAYERS = ("conv1", *(f"fire{n}/{part}" for n in FIRES for part in ("squeeze1x1", "expand1x1", "expand3x3")))


def read_squeezenet(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return kernel ``(height, width, channels_in, channels_out)`` and bias ``(channels_out,)`` of each of `LAYERS`.

    In this file's format a layer's group lists the names of its arrays in an attribute, kernel first; the kernels'
    own names say nothing (``uniform1``, ``uniform2``, …).

    Raises:
        DataError: the file is not in that format, or holds another network.
    """
    import h5py  # slow to import, and needed only here

    try:
        with h5py.File(path) as file:
            arrays = {}
            for layer in LAYERS:
                names = [name.decode() for name in file[layer].attrs["weight_names"]]
                kernel, bias = (np.asarray(file[layer][name], np.float32) for name in names)
                arrays[layer] = kernel, bias
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} does not hold SqueezeNet 1.1 in the format of Keras 1: {error}") from error
    for layer, (kernel, bias) in arrays.items():
        if kernel.shape != _kernel_shape(layer) or bias.shape != kernel.shape[-1:]:
            raise DataError(f"{path}: {layer} has shape {kernel.shape}, expected {_kernel_shape(layer)}")
    return arrays


def _kernel_shape(layer: str) -> tuple[int, int, int, int]:
    if layer == "conv1":
        return (3, 3, 3, 64)
    fire, part = layer.split("/")
    number = int(fire.removeprefix("fire"))
    squeezed, expanded = FIRES[number]
    if part == "squeeze1x1":
        return (1, 1, 64 if number == 2 else 2 * FIRES[number - 1][1], squeezed)
    side = int(part[-1])
    return (side, side, squeezed, expanded)


def preprocess(images: np.ndarray) -> np.ndarray:
    """Turn pictures into what the weights expect: blue, green, red, each less its mean over ImageNet.

    Args:
        images: ``(…, 3)`` red, green, blue, values 0 to 255 (not 0 to 1).

    Returns:
        float32 ``(…, 3)``, values about −124 to 151.
    """
    return np.asarray(images, np.float32)[..., ::-1] - np.asarray(MEAN_BGR, np.float32)
