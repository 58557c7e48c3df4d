"""Low-rank adaptation (LoRA; Hu et al. 2022): a frozen weight plus a trainable update of small rank."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.utils import skip_init

from data_scripts.glyphnet_torch import GlyphNet
from workbook.methods.torch.policies import apply_policy


class LowRank(nn.Module):
    """A frozen layer beside an update (α/r) B A of rank at most r: ``layer(x) + (α/r) · B(A(x))``.

    A linear layer's weight is ``(d_out, d_in)``. A convolution's ``(d_out, c_in, h, w)`` is read as a matrix of
    d_in = c_in·h·w columns; A is then a convolution to r channels and B a 1×1 convolution. A starts normal with
    variance 1/d_in, B at zero, so that the first forward pass is that of the frozen layer.

    Args:
        layer: an ``nn.Linear`` or ``nn.Conv2d``; kept, and frozen.
        rank: r, from 1 to min(d_out, d_in).
        alpha: α.
        generator: of A's start; PyTorch's global one unless given.

    Raises:
        TypeError: another kind of layer, or a convolution in groups.
        ValueError: a rank outside its range.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int, alpha: float, generator: torch.Generator | None = None):
        super().__init__()
        if not isinstance(layer, nn.Linear | nn.Conv2d) or getattr(layer, "groups", 1) != 1:
            raise TypeError(f"expected a linear layer or a convolution without groups, got {layer}")
        rows, columns = layer.weight.flatten(1).shape
        if not 1 <= rank <= min(rows, columns):
            raise ValueError(f"rank={rank}: a {rows} × {columns} weight takes ranks from 1 to {min(rows, columns)}")
        self.layer, self.scale = layer.requires_grad_(False), alpha / rank
        # skip_init: the layers' own random start would be thrown away, and would use up global random numbers.
        if isinstance(layer, nn.Linear):
            self.A = skip_init(nn.Linear, columns, rank, bias=False)
            self.B = skip_init(nn.Linear, rank, rows, bias=False)
        else:
            places = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            self.A = skip_init(nn.Conv2d, layer.in_channels, rank, *places, bias=False, padding_mode=layer.padding_mode)
            self.B = skip_init(nn.Conv2d, rank, rows, 1, bias=False)
        nn.init.normal_(self.A.weight, std=columns**-0.5, generator=generator)
        nn.init.zeros_(self.B.weight)
        self.to(layer.weight.device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x as the layer does, plus the update."""
        return self.layer(x) + self.scale * self.B(self.A(x))

    def update(self) -> torch.Tensor:
        """Return (α/r) B A in the shape of the layer's weight."""
        product = self.B.weight.flatten(1) @ self.A.weight.flatten(1)
        return self.scale * product.view_as(self.layer.weight)

    @torch.no_grad()
    def merged(self) -> nn.Linear | nn.Conv2d:
        """Return the layer with the update added into its weight (the very object, changed in place)."""
        self.layer.weight += self.update()
        return self.layer


def add_lora(
    network: GlyphNet,
    rank: int,
    *,
    alpha: float = 8.0,
    layers: Iterable[str] | None = None,
    generator: torch.Generator | None = None,
) -> list[str]:
    """Freeze all but the head, and put a `LowRank` update beside the given layers.

    Args:
        network: changed in place; batch normalisation is frozen, its statistics with it (see `train_mode`).
        rank: r of every update.
        alpha: α, so that updates are scaled by α/r.
        layers: names of convolutions or linear layers; all convolutions of GlyphNet's three blocks unless given.
        generator: of the start of every A; PyTorch's global one unless given.

    Returns:
        The names of the parameters that train.

    Raises:
        ValueError: a rank that a layer cannot take; a network that already has updates.
    """
    modules = dict(network.named_modules())
    if any(isinstance(module, LowRank) for module in modules.values()):
        raise ValueError("this network already carries low-rank updates: merge_lora first")
    if layers is None:
        layers = [n for n, module in modules.items() if n.startswith("block") and isinstance(module, nn.Conv2d)]
    updates = {name: LowRank(modules[name], rank, alpha, generator) for name in layers}
    apply_policy(network, "head")
    for name, update in updates.items():
        network.set_submodule(name, update)
    network.to(memory_format=torch.channels_last)
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def merge_lora(network: nn.Module) -> nn.Module:
    """Add every update into its weight and take it off: plain layers again, with the same outputs.

    Args:
        network: changed in place and returned; the merged weights stay frozen.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, LowRank):
            network.set_submodule(name, module.merged())
    return network
