"""Distillation as papers compare it: CIFAR-size residual networks under the settings of RepDistiller.

240 epochs of 50,000 pictures in batches of 64; SGD with momentum 0.9 and weight decay 5e-4; learning rate 0.05, divided
by ten after epochs 150, 180 and 210; random crops from 4 pixels of padding, and flips (Tian, Krishnan and Isola 2020).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from data_scripts.glyphnet_torch import ResidualBlock
from workbook.methods.torch.training import next_rows

EPOCHS, ROWS, BATCH = 240, 50_000, 64
MILESTONES = (150, 180, 210)
FULL_STEPS = EPOCHS * (ROWS // BATCH)
"""Steps of one network's whole training; the last 16 rows of an epoch's order are left for the next epoch's."""

_PARTS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass
class Pictures:
    """A data set on a device: images uint8 ``(n, 32, 32, 3)``, labels int64 ``(n,)``."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor

    def __post_init__(self) -> None:
        sample = self.train_images[:5000].float()
        self._centre, self._scale = sample.mean((0, 1, 2)), sample.std((0, 1, 2))

    def as_inputs(self, images: torch.Tensor) -> torch.Tensor:
        """Standardise images ``(b, 32, 32, 3)`` by the channels of the first 5,000 for training: ``(b, 3, 32, 32)``."""
        return ((images.float() - self._centre) / self._scale).permute(0, 3, 1, 2)


def cifar_resnet(depth: int, *, classes: int = 100) -> nn.Sequential:
    """Return the residual network of ``depth`` layers for 32×32 pictures (He et al. 2016, section 4.2).

    Three stages of (depth − 2) / 6 blocks with 16, 32 and 64 channels; where the shape changes, the shortcut is a 1×1
    convolution.

    Raises:
        ValueError: ``depth`` is not 6n + 2.
    """
    blocks, left_over = divmod(depth - 2, 6)
    if left_over or blocks < 1:
        raise ValueError(f"depth={depth}: expected 8, 14, 20, 26, … (two more than a multiple of six)")
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    before = 16
    for width in (16, 32, 64):
        for _ in range(blocks):
            layers.append(ResidualBlock(before, width, stride=1 if width == before else 2))
            before = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def random_pictures(rows: int, device: str, *, seed: int, classes: int = 100) -> Pictures:
    """Return random numbers in the shape of a data set: enough to measure speed, useless for accuracy."""
    generator = np.random.default_rng(seed)
    arrays = []
    for n in (rows, 16):
        arrays += [generator.integers(256, size=(n, 32, 32, 3), dtype=np.uint8), generator.integers(classes, size=n)]
    return Pictures(*(torch.from_numpy(array).to(device) for array in arrays))


def read_pictures(path: str | Path, device: str) -> Pictures:
    """Read an ``.npz`` file with the arrays of `Pictures`.

    Raises:
        ValueError: an array is missing, or the images do not have the shape that is expected.
    """
    with np.load(path) as file:
        missing = [name for name in _PARTS if name not in file]
        if missing:
            raise ValueError(f"{path} lacks {', '.join(missing)}: expected the arrays {', '.join(_PARTS)}")
        arrays = {name: file[name] for name in _PARTS}
    for part in ("train", "test"):
        images = arrays[f"{part}_images"]
        if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
            raise ValueError(f"{part}_images are {images.dtype} {images.shape}: expected uint8 (n, 32, 32, 3)")
        arrays[f"{part}_labels"] = arrays[f"{part}_labels"].astype(np.int64)
    return Pictures(*(torch.from_numpy(arrays[name]).to(device) for name in _PARTS))


def crop_and_flip(images: torch.Tensor) -> torch.Tensor:
    """Cut a random window from every image ``(n, 32, 32, 3)``, padded by 4 black pixels, and mirror half of them."""
    n, padded, place = len(images), F.pad(images, (0, 0, 4, 4, 4, 4)), {"device": images.device}
    down, right = torch.randint(9, (2, n, 1), **place)
    window, picked = torch.arange(32, **place), torch.arange(n, **place)[:, None, None]
    cut = padded[picked, (down + window)[:, :, None], (right + window)[:, None]]
    return torch.where(torch.rand(n, 1, 1, 1, **place) < 0.5, cut.flip(2), cut)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def train(
    network: nn.Module,
    pictures: Pictures,
    loss_of: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    steps: int,
    seed: int,
    batch: int = BATCH,
) -> float:
    """Train under the protocol's settings, the milestones at the same shares of ``steps``, and return images a second.

    The first fifth of the steps warms up kernels and caches and is not timed.

    Args:
        network: maps ``(n, 3, 32, 32)`` to logits; changed in place, then in evaluation mode without gradients.
        pictures: on the network's device.
        loss_of: the loss of ``(logits, views, labels)``; a teacher answers for the very same views.
        steps: at least 2; `FULL_STEPS` is the whole protocol.
        seed: of the batches; crops and flips come from the device's own random numbers.
        batch: images a step.
    """
    device, images, labels = pictures.train_images.device, pictures.train_images, pictures.train_labels
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    milestones = [round(steps * epoch / EPOCHS) for epoch in MILESTONES]
    rates = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, gamma=0.1)
    order, generator = torch.empty(0, dtype=torch.int64), torch.Generator().manual_seed(seed)
    network.train()
    begun = time.perf_counter()
    for step in range(steps):
        if step == steps // 5:
            _wait(device)
            begun = time.perf_counter()
        rows, order = next_rows(order, len(images), batch, generator)
        rows = rows.to(device)
        views = pictures.as_inputs(crop_and_flip(images[rows]))
        loss = loss_of(network(views), views, labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
    _wait(device)
    network.eval().requires_grad_(False)
    return batch * (steps - steps // 5) / (time.perf_counter() - begun)


@torch.inference_mode()
def accuracy_on_test(network: nn.Module, pictures: Pictures) -> float:
    """Return the share of test pictures that the network names rightly."""
    network.eval()
    guesses = torch.cat([network(pictures.as_inputs(part)).argmax(1) for part in pictures.test_images.split(1000)])
    return (guesses == pictures.test_labels).double().mean().item()
