"""Heads that fit the task: one class, several labels at once, a number; each with the shapes that its loss expects."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


class CosineHead(nn.Module):
    """Logits s · cos(w_c, h): features and class weights of length 1, one learned scale s.

    Gidaris and Komodakis (2018).

    Input ``(N, features)``, output ``(N, classes)``, every logit in [−s, s].
    """

    def __init__(self, features: int, classes: int, scale: float = 16.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, features) / math.sqrt(features))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Map features ``(N, features)`` to logits ``(N, classes)``."""
        return self.log_scale.exp() * F.linear(F.normalize(h), F.normalize(self.weight))


def mlp_head(features: int, outputs: int, hidden: int = 64) -> nn.Sequential:
    """Return one hidden layer of rectified units: ``(N, features)`` to ``(N, outputs)``."""
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def multi_hot(labels: Sequence[Iterable[int]], classes: int) -> torch.Tensor:
    """Return float32 ``(N, classes)`` with 1 where an example has the label.

    Args:
        labels: the labels of every example, none or several.
        classes: how many labels there are.

    Raises:
        ValueError: a label is not one of ``0 … classes − 1``.
    """
    targets = torch.zeros(len(labels), classes)
    for row, present in enumerate(labels):
        for label in present:
            if not 0 <= label < classes:
                raise ValueError(f"example {row} has label {label}: expected 0 to {classes - 1}")
            targets[row, label] = 1
    return targets


def _same_shape(outputs: torch.Tensor, targets: torch.Tensor) -> None:
    if outputs.shape != targets.shape or not targets.is_floating_point():
        raise ValueError(
            f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} of {targets.dtype}: expected one shape "
            "and floating-point targets (other shapes would be broadcast against each other)"
        )


def multi_label_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean binary cross-entropy of every label by itself: logits and targets ``(N, labels)``.

    Raises:
        ValueError: the shapes differ, or the targets are whole numbers (class numbers, perhaps: see `multi_hot`).
    """
    _same_shape(logits, targets)
    return F.binary_cross_entropy_with_logits(logits, targets)


def predict_labels(logits: torch.Tensor, probability: float = 0.5) -> torch.Tensor:
    """Return bool ``(N, labels)``: which labels are at least as probable as ``probability``.

    σ(z) ≥ p is z ≥ ln(p / (1 − p)): a probability of 0.5 is a logit of 0, not of 0.5.

    Raises:
        ValueError: ``probability`` is not between 0 and 1.
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability={probability}: expected a number between 0 and 1")
    return logits >= math.log(probability / (1 - probability))


def f1_score(predicted: torch.Tensor, targets: torch.Tensor) -> float:
    """Return 2·TP / (2·TP + FP + FN) over all labels of all examples together (micro-averaged), 0 without any."""
    predicted, targets = predicted.bool(), targets.bool()
    hits = (predicted & targets).sum().item()
    return 2 * hits / max(1, predicted.sum().item() + targets.sum().item())


@dataclass(frozen=True)
class Standardised:
    """A target's mean and standard deviation on the training rows: what a regression head is trained between.

    ``encode`` takes targets to mean 0 and deviation 1, ``decode`` takes predictions back to the target's units.
    """

    mean: float
    deviation: float

    @classmethod
    def of(cls, targets: torch.Tensor) -> "Standardised":
        """Measure the targets of the training rows.

        Raises:
            ValueError: they are all the same, or fewer than two.
        """
        if targets.numel() < 2 or targets.std() == 0:
            raise ValueError(f"{targets.numel()} targets: expected at least two that differ")
        return cls(targets.mean().item(), targets.std().item())

    def encode(self, targets: torch.Tensor) -> torch.Tensor:
        """Return (targets − mean) / deviation."""
        return (targets - self.mean) / self.deviation

    def decode(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return mean + deviation · outputs."""
        return self.mean + self.deviation * outputs


def regression_loss(huber: float | None = None) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the mean squared error, or Huber's loss, that refuses to broadcast ``(N, 1)`` against ``(N,)``.

    Huber's loss is half the square of residuals up to δ and linear beyond: one wrong target then pulls with a bounded
    force (Huber 1964).

    Args:
        huber: δ, in the units of the (standardised) targets; None for the mean squared error.
    """

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        _same_shape(outputs, targets)
        return F.mse_loss(outputs, targets) if huber is None else F.huber_loss(outputs, targets, delta=huber)

    return loss


def r_squared(predictions: torch.Tensor, targets: torch.Tensor) -> float:
    """Return 1 − Σ(y − ŷ)² / Σ(y − ȳ)²: 1 is perfect, 0 as good as these rows' mean, below 0 worse than it.

    Raises:
        ValueError: the shapes differ.
    """
    _same_shape(predictions, targets)
    return 1 - ((targets - predictions).square().sum() / (targets - targets.mean()).square().sum()).item()


def fit_head(
    head: nn.Module,
    features: torch.Tensor,
    targets: torch.Tensor,
    *,
    criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    steps: int = 150,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> nn.Module:
    """Train a head on cached features, all rows at every step: AdamW under half a cosine; return it for evaluation.

    Args:
        head: maps ``(n, d)`` to what the criterion takes; changed in place.
        features: ``(n, d)``, from a frozen network.
        targets: n rows, of the type and shape that the criterion expects.
        criterion: the loss of ``(head(features), targets)``.
        steps: gradient steps.
        learning_rate: at the first step; it falls to 0.
        weight_decay: of AdamW.
    """
    optimiser = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=weight_decay)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    head.train()
    for _ in range(steps):
        loss = criterion(head(features), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        falling.step()
    return head.eval()
