"""The small ResNets for CIFAR-10 in PyTorch, with public weights.

Source of the architecture: K. He et al., Deep residual learning for image recognition, CVPR 2016, section 4.2 (three
stages of n blocks, 16, 32 and 64 channels, parameter-free shortcuts: option A); of the weights: Y. Idelbayev, 2018.
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from data_scripts.backbones import BACKBONES
from data_scripts.download import fetch
from data_scripts.errors import DataError

FILES = {depth: BACKBONES[f"cifar_resnet{depth}"].file for depth in (20, 32, 44, 56)}
"""Depth → name in ``registry.toml``."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue: ImageNet's, which these weights were trained with though the pictures are CIFAR's."""


class Block(nn.Module):
    """Two 3×3 convolutions; where channels double, the shortcut takes every second pixel and pads with zeros."""

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.stride, self.more = stride, (channels_out - channels_in) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(N, channels_in, H, W)`` to ``(N, channels_out, H/stride, W/stride)``."""
        h = F.relu(self.bn1(self.conv1(x)))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
        return F.relu(self.bn2(self.conv2(h)) + shortcut)


class CifarResNet(nn.Module):
    """Pictures float ``(N, 3, 32, 32)``, red, green, blue in [0, 1], to logits ``(N, classes)``.

    Subtracting the mean and dividing by the standard deviation belong to the weights and happen inside.

    Args:
        depth: 6n + 2 layers: 20, 32, 44 or 56 have public weights.
        classes: of the head.
    """

    def __init__(self, depth: int, classes: int = 10):
        super().__init__()
        if (depth - 2) % 6:
            raise ValueError(f"depth={depth}: expected 6n + 2, such as 20 or 56")
        n = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, n, 1)
        self.layer2 = self._stage(16, 32, n, 2)
        self.layer3 = self._stage(32, 64, n, 2)
        self.linear = nn.Linear(64, classes)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    @staticmethod
    def _stage(channels_in: int, channels_out: int, n: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            Block(channels_in, channels_out, stride), *(Block(channels_out, channels_out, 1) for _ in range(n - 1))
        )

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the pooled features ``(N, 64)`` of pictures ``(N, 3, 32, 32)``."""
        h = F.relu(self.bn1(self.conv1((images - self.mean) / self.std)))
        return self.layer3(self.layer2(self.layer1(h))).mean(dim=(2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits ``(N, classes)`` of pictures ``(N, 3, 32, 32)``."""
        return self.linear(self.features(images))


def load_cifar_resnet(depth: int, path: Path | None = None) -> CifarResNet:
    """Return a ResNet trained on CIFAR-10, in evaluation mode.

    Args:
        depth: one of `FILES`.
        path: of the weights file; fetched (see `data_scripts.download`) unless given.

    Raises:
        ValueError: no public weights of that depth.
        DownloadError: the file is not in the cache and cannot be fetched.
        DataError: the file holds another network.
    """
    if depth not in FILES:
        raise ValueError(f"depth={depth}: public weights are there for {', '.join(map(str, FILES))}")
    path = path or fetch(FILES[depth])
    # weights_only: the file is a pickle from the network, and must not run code.
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    network = CifarResNet(depth)
    try:
        # It was saved from DataParallel, which puts "module." before every name.
        network.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state.items()})
    except RuntimeError as error:
        raise DataError(f"{path} does not hold a ResNet-{depth}: {error}") from error
    return network.eval()
