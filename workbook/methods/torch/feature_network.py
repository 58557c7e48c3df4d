"""An adapted head: a small network over *cached* features, trained on both domains where a backbone is too slow for it.

The backbone is frozen, its features are computed once, and what DAN, DANN or deep CORAL would do to the whole network
they do here to one hidden layer. `FeatureNetwork` has the ``features`` and ``head`` of a `GlyphNet`, so that
`source_free.shot` and `source_free.self_training` take it as well, with ``shift=0``.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional as F

from workbook.methods.torch.deep_alignment import (
    DomainClassifier,
    coral_loss,
    domain_loss,
    mk_mmd_loss,
    reversal_schedule,
    reverse_gradient,
)
from workbook.methods.torch.training import next_rows

METHODS = ("source only", "deep CORAL", "DAN", "DANN")
"""The methods that `adapted_head` knows; the first uses no target row."""

WEIGHTS: Mapping[str, float] = MappingProxyType({"source only": 0.0, "deep CORAL": 1.0, "DAN": 1.0, "DANN": 0.3})
"""The trade-off weights unless told otherwise: lesson 07d's, found on other data, not searched here."""


class FeatureNetwork(nn.Module):
    """Features ``(N, d)`` through one hidden layer to logits ``(N, classes)``.

    Args:
        inputs: d, the width of the cached features.
        classes: of the head.
        hidden: width of the layer that adapts.
    """

    def __init__(self, inputs: int, classes: int, hidden: int = 64):
        super().__init__()
        self.layer, self.head = nn.Linear(inputs, hidden), nn.Linear(hidden, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the hidden features ``(N, hidden)`` of rows ``(N, d)``."""
        return torch.relu(self.layer(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.head(self.features(x))


def adapted_head(
    source: torch.Tensor,
    labels: torch.Tensor,
    target: torch.Tensor,
    method: str,
    *,
    classes: int,
    seed: int,
    weight: float | None = None,
    steps: int = 300,
    learning_rate: float = 3e-3,
    batch: int = 64,
    hidden: int = 64,
) -> FeatureNetwork:
    """Train a `FeatureNetwork` on source labels while its hidden features of both domains are drawn together.

    The loss is CE(source) + weight · term as in `deep_alignment.adapt`: the covariances' distance (deep CORAL), the
    kernel distance (DAN), or a domain classifier behind a reversed gradient of strength weight · λ(p) (DANN). AdamW
    under one cycle of the rate. Every method has the same start and the same source batches.

    Args:
        source: float32 ``(n_S, d)`` features.
        labels: int64 ``(n_S,)``.
        target: ``(n_T, d)``, the unlabelled rows to adapt to.
        method: one of `METHODS`.
        classes: of the head.
        seed: of weights and batches.
        weight: of the term; `WEIGHTS` unless told otherwise.
        steps, learning_rate, batch, hidden: gradient steps, the cycle's peak, rows of each domain a step, the layer.

    Returns:
        The network in evaluation mode.

    Raises:
        ValueError: an unknown method; the message lists the choices.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown; expected one of {', '.join(map(repr, METHODS))}")
    weight = WEIGHTS[method] if weight is None else weight
    torch.manual_seed(seed)
    network = FeatureNetwork(source.shape[1], classes, hidden)
    judge = DomainClassifier(hidden) if method == "DANN" else None
    parameters = [*network.parameters(), *(judge.parameters() if judge else ())]
    optimiser = torch.optim.AdamW(parameters, learning_rate, weight_decay=0.01)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    of_source, of_target = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 2**20)
    source_order = target_order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        rows, source_order = next_rows(source_order, len(source), batch, of_source)
        h_S = network.features(source[rows])
        loss = F.cross_entropy(network.head(h_S), labels[rows])
        if method != "source only":
            rows, target_order = next_rows(target_order, len(target), batch, of_target)
            h_T = network.features(target[rows])
            if judge is not None:
                strength = weight * reversal_schedule(step / max(steps - 1, 1))
                loss = loss + domain_loss(*(judge(reverse_gradient(h, strength)) for h in (h_S, h_T)))
            else:
                loss = loss + weight * (coral_loss if method == "deep CORAL" else mk_mmd_loss)(h_S, h_T)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
    return network.eval()
