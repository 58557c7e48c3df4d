"""The shipped GlyphNet weights in the PyTorch module."""

from pathlib import Path

import torch

from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.glyphnet_weights import WEIGHTS, read_weights


def load_glyphnet(path: Path = WEIGHTS, *, classes: int | None = None) -> GlyphNet:
    """Return GlyphNet with its pre-trained weights, in evaluation mode.

    Args:
        path: of the weights file; the shipped one unless told otherwise.
        classes: outputs of a new head, whose random weights come from PyTorch's global random numbers; None keeps the
            source's head.

    Raises:
        FileNotFoundError: no such file; the message says how to make one.
    """
    tensors = {name: torch.from_numpy(value) for name, value in read_weights(path).items()}
    network = GlyphNet(classes=len(tensors["head.bias"]))
    # num_batches_tracked is not stored: it only counts, and its absence is the one that strict loading must allow.
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ValueError(f"{path} does not hold a GlyphNet: missing {missing}, unexpected {unexpected}")
    if classes is not None:
        network.head = torch.nn.Linear(network.head.in_features, classes)
    return network.to(memory_format=torch.channels_last).eval()
