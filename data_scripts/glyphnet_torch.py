"""GlyphNet in PyTorch: the small residual network that ships with the course."""

import torch
from torch import nn

WIDTHS = (24, 64, 128)
"""Channels of the three stages, at 16×16, 8×8 and 4×4."""


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch normalisation and a shortcut (He et al. 2016, the basic block)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(N, channels_in, H, W)`` to ``(N, channels_out, H/stride, W/stride)``."""
        h = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(h)) + self.shortcut(x))


class GlyphNet(nn.Module):
    """Stem, three residual blocks, global average pooling, linear head.

    Input: ``(N, 1, 32, 32)``, grey values in [0, 1]. Features: ``(N, 128)``, pooled and non-negative.
    Output: logits ``(N, classes)``.
    """

    def __init__(self, classes: int, widths: tuple[int, int, int] = WIDTHS):
        super().__init__()
        first, second, third = widths
        self.stem = nn.Conv2d(1, first, 3, stride=2, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(first)
        self.block1 = ResidualBlock(first, first, stride=1)
        self.block2 = ResidualBlock(first, second, stride=2)
        self.block3 = ResidualBlock(second, third, stride=2)
        self.head = nn.Linear(third, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the pooled features ``(N, 128)`` of images ``(N, 1, 32, 32)``."""
        h = torch.relu(self.stem_bn(self.stem(x)))
        h = self.block3(self.block2(self.block1(h)))
        return h.mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits ``(N, classes)`` of images ``(N, 1, 32, 32)``."""
        return self.head(self.features(x))
