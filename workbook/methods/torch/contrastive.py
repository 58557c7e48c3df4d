"""Pre-training on pairs of pictures: contrastive (no labels), by name (labels), by episode (labels); one loop for all.

Every step draws pairs; the backbone turns both halves into features; a loss with parameters of its own (a projection
head, a naming layer) says what the features should do, and is thrown away afterwards. The lesson 05c writes the
contrastive loss out and compares the three.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

Draw = Callable[[torch.Generator], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""Draws a batch of N pairs: two tensors of pictures ``(N, 1, H, W)``, and what the loss is told of them, ``(N,)``."""


def nt_xent(first: torch.Tensor, second: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """Return the normalised-temperature cross-entropy of N pairs (Chen et al. 2020, eq. 1), mean over all 2N.

    Each of the 2N vectors has to pick its partner among the 2N − 1 others by cosine similarity over temperature.
    Equal similarities give log(2N − 1); no arrangement gives less than log(1 + (2N − 2) exp(−N / ((N − 1) τ))).

    Args:
        first, second: ``(N, d)``; row i of both comes from one picture. Lengths do not matter, directions do.
        temperature: τ, positive.

    Raises:
        ValueError: the shapes differ, there is only one pair, or the temperature is not positive.
    """
    if first.shape != second.shape or first.ndim != 2 or len(first) < 2:
        raise ValueError(
            f"expected two (N, d) tensors of one shape, N at least 2: got {(*first.shape,)} and {(*second.shape,)}"
        )
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: expected a positive number")
    z = F.normalize(torch.cat([first, second]), dim=1)
    similarity = z @ z.T / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    partner = torch.arange(len(z), device=z.device).roll(len(first))
    return F.cross_entropy(similarity.masked_fill(itself, -torch.inf), partner)


class ContrastiveLoss(nn.Module):
    """`nt_xent` behind a projection head of one hidden layer; what it is told of the pairs is ignored."""

    def __init__(self, width: int, *, temperature: float, projected: int = 64):
        super().__init__()
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projected))
        self.temperature = temperature

    def forward(self, first: torch.Tensor, second: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Return the loss of features ``(N, width)`` of both halves."""
        return nt_xent(self.projection(first), self.projection(second), temperature=self.temperature)


class NamingLoss(nn.Module):
    """Cross-entropy of a linear layer that names both pictures of every pair; it is told their class."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.head = nn.Linear(width, classes)

    def forward(self, first: torch.Tensor, second: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Return the loss of features ``(N, width)`` of both halves, both of class ``told``."""
        return F.cross_entropy(self.head(torch.cat([first, second])), told.repeat(2))


class EpisodeLoss(nn.Module):
    """Prototypical networks (Snell et al. 2017), N-way and one-shot: each first picture is its class's prototype.

    Draw the second picture as another example of the same class. Squared distances are divided by the square root of
    the width, to keep the logits of wide features from saturating the softmax.
    """

    def forward(self, first: torch.Tensor, second: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Return the loss of features ``(N, width)``; prototypes of the same class as the query are left out."""
        logits = -torch.cdist(second, first).square() / first.shape[1] ** 0.5
        rival = (told[:, None] == told) & ~torch.eye(len(told), dtype=torch.bool, device=told.device)
        return F.cross_entropy(logits.masked_fill(rival, -torch.inf), torch.arange(len(told), device=told.device))


def train_on_pairs(
    network: nn.Module,
    loss: nn.Module,
    draw: Draw,
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    weight_decay: float = 0.02,
    watch: Callable[[int, nn.Module], None] | None = None,
) -> list[float]:
    """Train the backbone and the loss's own parameters on pairs; return the loss of every step.

    AdamW under a one-cycle learning rate, batch normalisation over both halves together.

    Args:
        network: has ``features``: pictures ``(2N, 1, H, W)`` to ``(2N, width)``; changed in place, left in
            evaluation mode. Its classification head, if any, is not touched.
        loss: called with the features of both halves and what ``draw`` told; trained too.
        draw: see `Draw`.
        steps: gradient steps.
        learning_rate: the peak of the cycle.
        seed: of the generator that ``draw`` gets.
        weight_decay: of AdamW.
        watch: called with the number of steps done and the network before the first step and after each one.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for name, p in network.named_parameters() if not name.startswith("head.")] + list(loss.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    losses = []
    for step in range(steps):
        if watch is not None:
            watch(step, network)
        network.train()
        first, second, told = draw(generator)
        pictures = torch.cat([first, second]).contiguous(memory_format=torch.channels_last)
        value = loss(*network.features(pictures).chunk(2), told)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        losses.append(value.item())
    network.eval()
    if watch is not None:
        watch(steps, network)
    return losses
