"""Fine-tuning that starts near, and stays near, what was pre-trained: L2-SP, LP-FT and discriminative rates."""

from collections.abc import Callable

import torch
from torch import nn

from data_scripts.glyphnet_torch import GlyphNet
from workbook.methods.torch.policies import GROUPS, apply_policy
from workbook.methods.torch.training import fit


def l2_sp(network: GlyphNet, alpha: float) -> Callable[[nn.Module], torch.Tensor]:
    """Return the penalty α/2 · ‖w − w₀‖² with w₀ a frozen copy of the backbone as it is now (Li et al. 2018).

    Added to a mean loss over n rows it is the negative logarithm of a normal prior around w₀ with variance 1/(nα),
    divided by n. The head is new and has no w₀: it is left out. So are running statistics, which no gradient moves.

    Args:
        network: holds the starting weights; parameters that are frozen now are left out.
        alpha: strength; 0 allows every distance.

    Returns:
        A function of the network (or of one with the same parameter names) that gives a scalar tensor with a gradient.

    Raises:
        ValueError: ``alpha`` is negative.
    """
    if alpha < 0:
        raise ValueError(f"alpha={alpha}: expected 0 or more (a negative one would push the weights away)")
    start = {
        name: parameter.detach().clone()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and not name.startswith("head.")
    }

    def penalty(now: nn.Module) -> torch.Tensor:
        distances = [(p - start[name]).square().sum() for name, p in now.named_parameters() if name in start]
        return alpha / 2 * torch.stack(distances).sum() if distances else torch.zeros(())

    return penalty


def discriminative_groups(network: GlyphNet, learning_rate: float, decay: float) -> list[dict]:
    """Return parameter groups with one rate a stage: head η, block3 ηγ, block2 ηγ², … (Howard and Ruder 2018).

    Args:
        network: frozen parameters are left out.
        learning_rate: η, the peak rate of the head.
        decay: γ, the factor from a stage to the one below it, in (0, 1]; 1 gives all stages the same rate.

    Returns:
        Groups for ``fit(…, parameters=…)`` from the head downwards; a stage with nothing to train has none.

    Raises:
        ValueError: ``decay`` is not in (0, 1].
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay={decay}: expected more than 0 and at most 1")
    groups = []
    for depth, stages in enumerate(GROUPS):
        stage = [p for name in stages for p in getattr(network, name).parameters() if p.requires_grad]
        if stage:
            groups.append({"params": stage, "lr": learning_rate * decay**depth})
    return groups


def fit_head_first(
    network: GlyphNet,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    head_steps: int,
    steps: int,
    head_rate: float,
    learning_rate: float,
    seed: int,
    **settings,
) -> GlyphNet:
    """Linear probing, then fine-tuning (LP-FT; Kumar et al. 2022): the head alone, then everything.

    Each part is one `fit` with a one-cycle rate of its own; in the first the backbone, its running statistics
    included, stays as it is.

    Args:
        network: changed in place; all of it trains afterwards.
        images: ``(n, 1, 32, 32)``.
        labels: int64 ``(n,)``.
        head_steps: gradient steps on the head alone.
        steps: gradient steps on everything, after that.
        head_rate: peak rate of the first part.
        learning_rate: peak rate of the second.
        seed: of batches and shifts.
        settings: further arguments of `fit`, for both parts.

    Returns:
        The network, in evaluation mode.
    """
    apply_policy(network, "head")
    fit(network, images, labels, steps=head_steps, learning_rate=head_rate, seed=seed, **settings)
    apply_policy(network, "full")
    # Another seed: the second part would otherwise repeat the first one's batches and shifts.
    return fit(network, images, labels, steps=steps, learning_rate=learning_rate, seed=seed + 1_000_003, **settings)
