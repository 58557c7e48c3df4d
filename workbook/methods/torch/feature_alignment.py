"""A linear map of given features, learnt so that moved source rows and target rows look like one sample."""

from collections.abc import Sequence

import numpy as np
import torch

from workbook.methods.alignment import AffineMap, kernel_widths
from workbook.methods.torch.deep_alignment import squared_distances


def kernel(first: torch.Tensor, second: torch.Tensor, widths: Sequence[float]) -> torch.Tensor:
    """Return `alignment.gaussian_kernel` of rows ``(n, d)`` and ``(m, d)`` as a tensor ``(n, m)`` with gradients."""
    squares = squared_distances(first, second)
    return sum(torch.exp(squares / (-2 * width**2)) for width in widths) / len(widths)


def mmd_map(
    source: np.ndarray,
    target: np.ndarray,
    *,
    seed: int,
    steps: int = 200,
    learning_rate: float = 1e-2,
    batch: int = 128,
) -> AffineMap:
    """Return the affine map of source rows that minimises their squared MMD to the target's.

    Adam on A and b of ``h ↦ hA + b``, from A = I and b = 0, its rate falling to 0 along half a cosine. The loss on a
    random batch of both samples is the unbiased estimate (`alignment.mmd2_unbiased`) with the multi-kernel of
    `alignment.kernel_widths`, widths fixed at the start, without the term within the target, which is constant.
    Matching means in a kernel's feature space by a learnt linear map is in the line of transfer component analysis
    (Pan et al. 2011), which solves an eigenvalue problem instead.

    Args:
        source: ``(n_S, d)`` features, no labels needed.
        target: ``(n_T, d)``, the rows to adapt to.
        seed: of the batches.
        steps: of Adam.
        learning_rate: its first and highest.
        batch: rows of each sample a step; all of the smaller sample when it has fewer.

    Raises:
        ValueError: the shapes do not fit, or a value is not finite.
    """
    widths = kernel_widths(source, target)
    generator = torch.Generator().manual_seed(seed)
    rows, goal = (torch.as_tensor(np.asarray(array), dtype=torch.float32) for array in (source, target))
    d, n = rows.shape[1], min(batch, len(rows), len(goal))
    matrix, offset = torch.eye(d, requires_grad=True), torch.zeros(d, requires_grad=True)
    optimiser = torch.optim.Adam([matrix, offset], lr=learning_rate)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        here, there = (torch.randperm(len(array), generator=generator)[:n] for array in (rows, goal))
        moved = rows[here] @ matrix + offset
        values = kernel(moved, torch.cat([moved, goal[there]]), widths)
        loss = (values[:, :n].sum() - n) / (n * (n - 1)) - 2 * values[:, n:].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
    return AffineMap(matrix.detach().double().numpy(), np.zeros(d), offset.detach().double().numpy())
