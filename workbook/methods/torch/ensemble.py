"""Many networks of one shape trained side by side as one batched computation (`torch.func`)."""

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from workbook.methods.torch.training import random_shift


class Ensemble:
    """S networks whose parameters are stacked along a new first dimension and stepped together.

    Batch normalisation keeps statistics for each member, and AdamW works element by element, so every member is
    trained as it would be alone (up to rounding) by its own batches.
    """

    def __init__(self, networks: Sequence[nn.Module], device: str = "cpu"):
        parameters, buffers = stack_module_state([network.to(device) for network in networks])
        self.parameters = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        self.buffers = buffers
        self.members, self.device = len(networks), device
        # Only the structure is needed: the tensors are the stacked ones.
        self._skeleton = copy.deepcopy(networks[0]).to("meta")

    def logits(self, images: torch.Tensor, *, train: bool) -> torch.Tensor:
        """Map ``(S, n, 1, 32, 32)``, member i seeing its own images, to ``(S, n, classes)``."""
        self._skeleton.train(train)

        def one(parameters: dict, buffers: dict, pictures: torch.Tensor) -> torch.Tensor:
            return functional_call(self._skeleton, (parameters, buffers), (pictures,))

        return vmap(one, randomness="different")(self.parameters, self.buffers, images)

    def fit(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        steps: int,
        learning_rate: float,
        seed: int,
        batch: int = 32,
        weight_decay: float = 0.01,
        shift: int = 2,
    ) -> None:
        """Train every member on its own rows, as `workbook.methods.torch.training.fit` does for one network.

        Args:
            images: ``(S, n, 1, 32, 32)``.
            labels: int64 ``(S, n)``.
            steps, learning_rate, batch, weight_decay, shift: as in `fit`.
            seed: of batches and shifts of all members.
        """
        generator = torch.Generator().manual_seed(seed)
        optimiser = torch.optim.AdamW(self.parameters.values(), lr=learning_rate, weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
        images, labels = images.to(self.device), labels.to(self.device)
        member = torch.arange(self.members)[:, None]
        order = torch.empty(self.members, 0, dtype=torch.int64)
        for _ in range(steps):
            if order.shape[1] < min(batch, images.shape[1]):
                order = torch.rand(images.shape[:2], generator=generator).argsort(dim=1)
            rows, order = order[:, :batch], order[:, batch:]
            pictures = random_shift(images[member, rows].flatten(0, 1), shift, generator)
            logits = self.logits(pictures.unflatten(0, (self.members, -1)), train=True)
            # Each member's mean loss, summed: no member's gradient depends on how many there are.
            loss = F.cross_entropy(logits.flatten(0, 1), labels[member, rows].flatten()) * self.members
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()

    @torch.inference_mode()
    def accuracy(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return each member's accuracy ``(S,)`` on the same images ``(n, 1, 32, 32)`` and labels ``(n,)``."""
        right = torch.zeros(self.members, dtype=torch.float64)
        for part, answers in zip(images.split(128), labels.split(128), strict=True):
            shared = part.to(self.device).expand(self.members, *part.shape)
            right += (self.logits(shared, train=False).argmax(-1).cpu() == answers).double().sum(1)
        return right / len(images)
