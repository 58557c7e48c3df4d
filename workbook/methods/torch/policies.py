"""Which parameters of a pre-trained network train, and what batch normalisation does in the layers that do not."""

from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from data_scripts.glyphnet_torch import GlyphNet


def _is_norm_parameter(network: nn.Module) -> Callable[[str], bool]:
    norms = {name for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    return lambda name: name.rpartition(".")[0] in norms


_TRAINS: dict[str, Callable[[GlyphNet], Callable[[str], bool]]] = {
    "head": lambda network: lambda name: False,
    "bias": lambda network: lambda name: name.endswith(".bias"),
    "norm": _is_norm_parameter,
    "last-block": lambda network: lambda name: name.startswith("block3."),
    "full": lambda network: lambda name: True,
}

POLICIES = tuple(_TRAINS)
"""Head only; head and biases; head and batch-norm scales and offsets; head and last block; everything."""


def apply_policy(network: GlyphNet, policy: str) -> list[str]:
    """Freeze all of the network but what the policy trains; the head always trains.

    Args:
        network: changed in place.
        policy: one of `POLICIES`.

    Returns:
        The names of the parameters that train.

    Raises:
        ValueError: an unknown policy; the message lists the choices.
    """
    if policy not in _TRAINS:
        raise ValueError(f"unknown policy {policy!r}: expected one of {POLICIES}")
    trains = _TRAINS[policy](network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith("head.") or trains(name))
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def train_mode(network: nn.Module) -> nn.Module:
    """Switch to training mode, except batch normalisation with no parameter that trains.

    ``requires_grad=False`` does not freeze running statistics: ``network.train()`` would go on updating them
    (PyTorch issue 86590), and a 'frozen' layer would compute something else after every step. A batch
    normalisation without scale and offset has nothing to freeze and follows the network.
    """
    network.train()
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, _BatchNorm) and own and not any(parameter.requires_grad for parameter in own):
            module.eval()
    return network
