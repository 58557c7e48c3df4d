"""How the learning rate moves during a training, and the range test that looks for its size (Smith 2017)."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from workbook.methods.torch.policies import train_mode
from workbook.methods.torch.training import next_rows, random_shift


def constant(optimiser: Optimizer, steps: int) -> LRScheduler:
    """Leave every group's rate as it is; for ``fit(…, schedule=constant)``."""
    return LambdaLR(optimiser, lambda step: 1.0)


def warmup_cosine(share: float = 0.2) -> Callable[[Optimizer, int], LRScheduler]:
    """Return a schedule for `fit`: linear warm-up, then half a cosine down to zero (Loshchilov and Hutter 2017).

    With w = ⌈share · steps⌉ steps of warm-up, step i of n (from 0) has the peak rate times (i + 1)/(w + 1) for i < w,
    and times ½(1 + cos(π (i − w)/(n − w))) from there on: the peak is at step w, and the rate would be 0 at step n.

    Args:
        share: of the steps that warm up, in [0, 1).

    Raises:
        ValueError: ``share`` is outside.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share={share}: expected a share of the steps, at least 0 and below 1")

    def schedule(optimiser: Optimizer, steps: int) -> LRScheduler:
        rising = math.ceil(share * steps)

        def factor(step: int) -> float:
            if step < rising:
                return (step + 1) / (rising + 1)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))

        return LambdaLR(optimiser, factor)

    return schedule


def range_test(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    low: float = 1e-5,
    high: float = 1.0,
    steps: int = 60,
    batch: int = 32,
    seed: int = 0,
    shift: int = 2,
) -> tuple[list[float], list[float]]:
    """Train once while the rate rises by a constant factor at every step; return rates and losses (Smith 2017).

    The loss of a step is measured before it is made, on that step's batch. It ends early when the loss is not finite
    or its running mean (`smooth_losses`) exceeds four times the lowest so far.

    Args:
        network: is spoilt by the test: pass a copy.
        images: ``(n, 1, 32, 32)``.
        labels: int64 ``(n,)``.
        low, high: rates of the first and of the last step.
        steps: of the whole test, at least 2.
        batch, shift: as in `fit`.
        seed: of batches and shifts.

    Raises:
        ValueError: the rates are not 0 < low < high, or there are fewer than 2 steps.
    """
    if not 0 < low < high or steps < 2:
        raise ValueError(f"low={low}, high={high}, steps={steps}: expected 0 < low < high and at least 2 steps")
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=low)
    train_mode(network)
    rates, losses = [], []
    order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        rate = low * (high / low) ** (step / (steps - 1))
        for group in optimiser.param_groups:
            group["lr"] = rate
        rows, order = next_rows(order, len(images), batch, generator)
        loss = F.cross_entropy(network(random_shift(images[rows], shift, generator)), labels[rows])
        smoothed = smooth_losses([*losses, loss.item()])
        if not torch.isfinite(loss) or smoothed[-1] > 4 * min(smoothed):
            break
        rates.append(rate)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return rates, losses


def steepest_rate(rates: list[float], losses: list[float], *, smooth: float = 0.8) -> float:
    """Return the rate at which the smoothed loss of a `range_test` falls fastest against the rate's logarithm.

    The losses are averaged with weights ``smooth**age``, normalised to 1, and differences are taken between steps.

    Args:
        rates, losses: as `range_test` returns them, at least 3 of each.
        smooth: in [0, 1); 0 leaves the losses as they are.

    Raises:
        ValueError: fewer than 3 steps, or lists of different lengths.
    """
    if len(rates) != len(losses) or len(losses) < 3:
        raise ValueError(f"expected as many losses as rates, at least 3: got {len(losses)} and {len(rates)}")
    smoothed = smooth_losses(losses, smooth)
    falls = [before - after for before, after in pairwise(smoothed)]
    return rates[falls.index(max(falls)) + 1]


def smooth_losses(losses: list[float], smooth: float = 0.8) -> list[float]:
    """Return running means of the losses: value i is the mean of losses 0 … i with weights ``smooth**(i − j)``."""
    total = weight = 0.0
    means = []
    for loss in losses:
        total, weight = smooth * total + loss, smooth * weight + 1
        means.append(total / weight)
    return means
