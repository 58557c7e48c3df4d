"""SqueezeNet 1.1 in torchvision's own module, with the weights of `data_scripts.squeezenet_weights`."""

from pathlib import Path

import torch
from torch import nn
from torchvision.models import squeezenet1_1

from data_scripts.download import fetch
from data_scripts.squeezenet_weights import FILE, FIRES, MEAN_BGR, read_squeezenet

# Positions of the convolutions and fire modules in torchvision's Sequential; poolings and ReLUs lie between them.
_PLACES = {
    "conv1": "0",
    **{f"fire{n}": str(place) for n, place in zip(FIRES, (3, 4, 6, 7, 9, 10, 11, 12), strict=True)},
}


class BlueGreenRed(nn.Module):
    """Red, green, blue in [0, 1] to blue, green, red of 255 less their means: what these weights were trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN_BGR).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map ``(N, 3, H, W)`` to the same shape."""
        return 255 * images.flip(1) - self.mean


class SqueezeNet(nn.Module):
    """Pictures to pooled features.

    Input: float ``(N, 3, 224, 224)``, red, green, blue in [0, 1]. Output: ``(N, 512)``, not negative.
    """

    def __init__(self) -> None:
        super().__init__()
        self.prepare, self.layers = BlueGreenRed(), squeezenet1_1(weights=None).features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features ``(N, 512)`` of pictures ``(N, 3, 224, 224)``: the mean over the last map."""
        return self.layers(self.prepare(images)).mean(dim=(2, 3))


def load_squeezenet(path: Path | None = None) -> SqueezeNet:
    """Return SqueezeNet with its ImageNet weights, in evaluation mode.

    Args:
        path: of the weights file; fetched (see `data_scripts.download`) unless given.

    Raises:
        DownloadError: the file is not in the cache and cannot be fetched.
        DataError: the file holds something else.
    """
    arrays = read_squeezenet(path or fetch(FILE))
    network = SqueezeNet()
    tensors = {}
    for layer, (kernel, bias) in arrays.items():
        fire, _, part = layer.partition("/")
        name = ".".join(filter(None, (_PLACES[fire], part.removesuffix("1x1") if part == "squeeze1x1" else part)))
        tensors[f"{name}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
        tensors[f"{name}.bias"] = torch.from_numpy(bias)
    network.layers.load_state_dict(tensors)
    return network.to(memory_format=torch.channels_last).eval()
