"""Weights between two networks, and the batch-norm statistics that belong to them (Wortsman et al. 2022)."""

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def interpolate(network_a: nn.Module, network_b: nn.Module, alpha: float) -> nn.Module:
    """Return a network whose parameters and running statistics are (1 − alpha) · a + alpha · b.

    It makes sense where b was trained from a, so that both lie in one basin of the loss; the layers must stand for
    the same things, the head included. The running means and variances of batch normalisation are interpolated like
    the weights, which is an approximation; `reestimate_statistics` measures them instead. Counters (integers) are
    copied from b. In evaluation mode; neither network changes.

    Args:
        network_a: alpha = 0, usually the pre-trained network.
        network_b: alpha = 1, usually the fine-tuned network.
        alpha: between 0 and 1; beyond, it extrapolates, and running variances could become negative.

    Raises:
        ValueError: alpha lies outside [0, 1], or the networks differ in names or shapes (the message names one).
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha}: expected a number from 0 to 1")
    first, second = network_a.state_dict(), network_b.state_dict()
    for name in first.keys() | second.keys():
        shapes = [tuple(state[name].shape) if name in state else None for state in (first, second)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"the networks differ at {name!r}: shapes {shapes[0]} and {shapes[1]}")
    mixed = {
        name: torch.lerp(first[name], value, alpha) if value.is_floating_point() else value
        for name, value in second.items()
    }
    between = copy.deepcopy(network_b)
    between.load_state_dict(mixed)
    return between.eval()


@torch.no_grad()
def reestimate_statistics(network: nn.Module, images: torch.Tensor, *, batch: int = 128) -> nn.Module:
    """Replace the running statistics of batch normalisation by those of ``images``; return it in evaluation mode.

    Every running mean and variance becomes the plain average over the batches. Each layer sees inputs that the
    layers below normalised by their *batch* statistics, so use batches that are large and well mixed.

    Args:
        network: changed in place; its parameters are not.
        images: ``(n, 1, 32, 32)``, in random order.
        batch: images a batch; a last batch of a single image is joined to the one before.

    Raises:
        ValueError: fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} images: expected at least 2 to estimate a variance from")
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
        norm.train()
    parts = list(images.split(batch))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    for part in parts:
        network(part)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()
