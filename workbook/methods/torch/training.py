"""Training by stochastic gradient descent: the one loop that every trained arm of a comparison shares."""

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn import functional as F

from workbook.methods.torch.policies import train_mode


def as_images(inputs) -> torch.Tensor:
    """Turn float32 arrays ``(N, 32, 32)`` into a tensor ``(N, 1, 32, 32)`` in channels-last memory order."""
    return torch.as_tensor(inputs, dtype=torch.float32)[:, None].contiguous(memory_format=torch.channels_last)


def random_shift(images: torch.Tensor, reach: int, generator: torch.Generator) -> torch.Tensor:
    """Shift every image by up to ``reach`` pixels in each direction; what comes in repeats the edge.

    Args:
        images: ``(N, C, H, W)``.
        reach: largest shift in pixels; 0 returns the images as they are.
        generator: of the shifts.
    """
    if reach == 0:
        return images
    n, _, height, width = images.shape
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    down, right = torch.randint(0, 2 * reach + 1, (2, n, 1), generator=generator)
    rows = (down + torch.arange(height)).to(images.device)
    columns = (right + torch.arange(width)).to(images.device)
    picked = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[picked, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def next_rows(order: torch.Tensor, n: int, batch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of the next batch and what is then left of the pass; a new pass begins when too few are left.

    Args:
        order: int64, the rows left of the current pass; empty at the start.
        n: rows of the training set.
        batch: rows a step; all of them when there are fewer.
        generator: of the order of a new pass.
    """
    if len(order) < min(batch, n):
        order = torch.randperm(n, generator=generator)
    return order[:batch], order[batch:]


def fit(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    batch: int = 32,
    weight_decay: float = 0.01,
    shift: int = 2,
    parameters: Iterable | None = None,
    penalty: Callable[[nn.Module], torch.Tensor] | None = None,
    before_step: Callable[[int], None] | None = None,
    schedule: Callable[[torch.optim.Optimizer, int], torch.optim.lr_scheduler.LRScheduler] | None = None,
    criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = F.cross_entropy,
) -> nn.Module:
    """Train the parameters that require a gradient; return the network in evaluation mode.

    AdamW (Loshchilov and Hutter 2019) under a one-cycle learning rate (Smith 2018), cross-entropy, every image
    shifted at random at every step. Batch normalisation in frozen layers keeps its statistics (`train_mode`).

    Args:
        network: maps ``(N, 1, 32, 32)`` to logits ``(N, classes)``; changed in place.
        images: ``(n, 1, 32, 32)``.
        labels: int64 ``(n,)``.
        steps: gradient steps.
        learning_rate: the peak of the cycle.
        seed: of batches and shifts.
        batch: images a step; all of them when there are fewer.
        weight_decay: of AdamW, on every parameter.
        shift: see `random_shift`.
        parameters: what AdamW gets in place of all that require a gradient: parameters, or groups with settings of
            their own, such as ``{"params": [...], "lr": 1e-4}`` (the peak of the cycle for that group).
        penalty: a term added to the loss, computed from the network at every step.
        before_step: called with the number of every step, from 0, before it is made (see `policies.gradual`).
        schedule: makes the rate's schedule from the optimiser and the number of steps (see `schedules`); one cycle
            unless told otherwise.
        criterion: the loss of ``(network(images), labels)``; another one takes labels of another type and shape.
    """
    generator = torch.Generator().manual_seed(seed)
    if parameters is None:
        parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    peaks = [group["lr"] for group in optimiser.param_groups]
    if schedule is None:
        rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, peaks, total_steps=steps)
    else:
        rates = schedule(optimiser, steps)
    train_mode(network)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        if before_step is not None:
            before_step(step)
        rows, order = next_rows(order, len(images), batch, generator)
        loss = criterion(network(random_shift(images[rows], shift, generator)), labels[rows])
        if penalty is not None:
            loss = loss + penalty(network)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
    return network.eval()


@torch.inference_mode()
def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images ``(n, 1, 32, 32)`` whose largest logit is at their label."""
    network.eval()
    guesses = torch.cat([network(part).argmax(1) for part in images.split(256)])
    return (guesses == labels).double().mean().item()


@torch.inference_mode()
def extract_features(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return ``network.features`` of images ``(n, 1, 32, 32)``, in evaluation mode: ``(n, 128)`` for GlyphNet."""
    network.eval()
    return torch.cat([network.features(part) for part in images.split(256)])
