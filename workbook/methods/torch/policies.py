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


GROUPS = (("head",), ("block3",), ("block2",), ("block1",), ("stem", "stem_bn"))
"""GlyphNet's layers from the head downwards, as gradual unfreezing lets them in."""


def gradual(network: GlyphNet, steps: int, *, share: float = 0.5) -> Callable[[int], None]:
    """Return what to call before every step for gradual unfreezing (Howard and Ruder 2018): head first, stem last.

    The head trains from step 0; the other `GROUPS` join it at equal intervals and all train from step
    ``share * steps`` on. Whoever trains gives the optimiser *all* parameters: those without a gradient are left alone
    by it until they have one. Batch normalisation in frozen groups keeps its statistics (`train_mode`).

    Args:
        network: frozen at once but for its head; changed in place by every call.
        steps: of the whole training.
        share: of the steps after which everything trains, between 0 and 1.

    Raises:
        ValueError: ``share`` is outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share={share}: expected a share of the steps between 0 and 1")
    starts = [share * steps * i / (len(GROUPS) - 1) for i in range(len(GROUPS))]
    apply_policy(network, "head")

    def before_step(step: int) -> None:
        """Let in every group whose time has come; ``step`` counts from 0."""
        for names, start in zip(GROUPS, starts, strict=True):
            for name in names:
                network.get_submodule(name).requires_grad_(step >= start)
        train_mode(network)

    return before_step


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
