"""Networks trained so that source and target features meet: deep CORAL, DAN, DANN and CDAN, in one loop.

Every method minimises the cross-entropy on source labels plus a term that shrinks when the features of the two domains
look alike. They differ in that term alone: same start, same source batches, same shifts, same steps.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional as F

from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.alignment import WIDTH_FACTORS
from workbook.methods.torch.domains import DomainPair
from workbook.methods.torch.policies import apply_policy, train_mode
from workbook.methods.torch.training import next_rows, random_shift

METHODS = ("source only", "deep CORAL", "DAN", "DANN", "CDAN")
"""The methods that `adapt` knows; the first uses no target row."""

WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"source only": 0.0, "deep CORAL": 3.0, "DAN": 1.0, "DANN": 0.3, "CDAN": 0.3}
)
"""The trade-off weights of `adapt`. They, the rate and the way through batch normalisation were chosen among a few by
accuracy on the labelled target validation rows of the first pair (seeds 1000 to 1002): an oracle."""

STARTS = ("letters", "scratch")
"""What `adapt` may start from: the shipped GlyphNet, or its architecture with random weights."""

OPTIMISERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = MappingProxyType(
    {
        "SGD": lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9, nesterov=True, weight_decay=5e-4),
        "AdamW": lambda parameters, lr: torch.optim.AdamW(parameters, lr, weight_decay=0.01),
    }
)
"""What `adapt` may train with: SGD with Nesterov's momentum 0.9, or AdamW as in `training.fit`."""


def _check(source: torch.Tensor, target: torch.Tensor) -> None:
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1] or min(len(source), len(target)) < 2:
        raise ValueError(
            f"expected two (n, d) tensors with the same d and two rows or more, got {tuple(source.shape)} and "
            f"{tuple(target.shape)}"
        )


def coral_loss(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return ‖C_S − C_T‖²_F / (4 d²), with C the covariance of each batch (Sun and Saenko 2016).

    Covariances are centred and divided by n − 1. The term does not see the means.

    Args:
        source: ``(n_S, d)`` features.
        target: ``(n_T, d)``.

    Raises:
        ValueError: the shapes do not fit, or a batch has fewer than two rows.
    """
    _check(source, target)
    return (source.T.cov() - target.T.cov()).square().sum() / (4 * source.shape[1] ** 2)


def squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return ‖a_i − b_j‖² for all pairs, ``(n, m)``; differentiable where rows coincide."""
    return (a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T).clamp_min(0)


def median_width(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the median of ‖a − b‖ over all pairs of different rows of both batches, without a gradient."""
    return torch.pdist(torch.cat([source, target]).detach()).square().quantile(0.5).sqrt()


def mk_mmd_loss(
    source: torch.Tensor,
    target: torch.Tensor,
    *,
    factors: Sequence[float] = WIDTH_FACTORS,
    width: torch.Tensor | float | None = None,
) -> torch.Tensor:
    """Return the unbiased estimate of the squared MMD under a mean of Gaussian kernels (Long et al. 2015).

    k(a, b) = mean over the factors f of exp(−‖a − b‖² / (2 (f · width)²)), as in `alignment.mmd2_unbiased`. The two
    within-batch means leave out a row's kernel with itself, so the estimate is about zero on average, and often
    negative, when both batches come from one distribution (Gretton et al. 2012).

    Args:
        source: ``(n_S, d)`` features.
        target: ``(n_T, d)``.
        factors: of the kernels' widths.
        width: in units of the features; the batch's `median_width` unless told otherwise. It carries no gradient:
            else features could lower the term by changing the yardstick.

    Raises:
        ValueError: the shapes do not fit, or a batch has fewer than two rows.
    """
    _check(source, target)
    if width is None:
        width = median_width(source, target)

    def kernel(a, b):
        scaled = squared_distances(a, b) / (2 * width**2)
        return torch.stack([torch.exp(-scaled / factor**2) for factor in factors]).mean(0)

    def within(rows):
        n = len(rows)
        return (kernel(rows, rows).sum() - n) / (n * (n - 1))  # k(a, a) = 1, taken out of the sum

    return within(source) + within(target) - 2 * kernel(source, target).mean()


class GradientReversal(torch.autograd.Function):
    """Identity forward; multiplies the gradient by −strength backward (Ganin et al. 2016)."""

    @staticmethod
    def forward(x: torch.Tensor, strength: float) -> torch.Tensor:
        """Return ``x``, as a view."""
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        """Keep the strength for the way back."""
        ctx.strength = inputs[1]

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the gradient for ``x``, and none for the strength."""
        return -ctx.strength * gradient, None


def reverse_gradient(x: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    """Return ``x``; on the way back its gradient is multiplied by ``−strength``."""
    return GradientReversal.apply(x, strength)


def reversal_schedule(progress: float) -> float:
    """Return λ(p) = 2 / (1 + e^(−10 p)) − 1 = tanh(5 p), with p from 0 to 1 over training (Ganin et al. 2016).

    Raises:
        ValueError: ``progress`` is outside [0, 1].
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress={progress}: expected a share of the training between 0 and 1")
    return 2 / (1 + math.exp(-10 * progress)) - 1


class DomainClassifier(nn.Module):
    """Tells source from target by one hidden layer; maps ``(n, d)`` to one logit a row, ``(n,)``; target is 1."""

    def __init__(self, inputs: int, hidden: int = 128):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of 'this row is a target row'."""
        return self.layers(x).squeeze(1)


def domain_loss(
    source_logits: torch.Tensor,
    target_logits: torch.Tensor,
    source_weights: torch.Tensor | None = None,
    target_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the mean of the domain classifier's cross-entropies on source (0) and on target (1).

    Args:
        source_logits, target_logits: ``(n_S,)`` and ``(n_T,)``.
        source_weights, target_weights: of the rows (see `certainty`), with mean 1; all 1 unless told otherwise.
    """
    source = F.softplus(source_logits)  # −log(1 − σ(z))
    target = F.softplus(-target_logits)  # −log σ(z)
    if source_weights is not None:
        source, target = source * source_weights, target * target_weights
    return (source.mean() + target.mean()) / 2


def outer_features(features: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """Return h ⊗ p of every row, flattened: ``(n, d)`` and ``(n, K)`` give ``(n, K·d)`` (Long et al. 2018)."""
    return (probabilities[:, :, None] * features[:, None, :]).flatten(1)


def certainty(probabilities: torch.Tensor) -> torch.Tensor:
    """Return CDAN's entropy weights 1 + e^(−H(p)), scaled to mean 1, without a gradient: ``(n, K)`` gives ``(n,)``."""
    probabilities = probabilities.detach()
    weights = 1 + torch.exp(-torch.special.entr(probabilities).sum(1))
    return weights / weights.mean()


def start_network(start: str, *, seed: int, classes: int = 10) -> GlyphNet:
    """Return GlyphNet with a new head: with the shipped letter weights, or with random ones.

    Raises:
        ValueError: ``start`` is not one of `STARTS`.
    """
    if start not in STARTS:
        raise ValueError(f"start {start!r} is unknown; expected one of {', '.join(map(repr, STARTS))}")
    torch.manual_seed(seed)
    if start == "scratch":
        return GlyphNet(classes).to(memory_format=torch.channels_last)
    return load_glyphnet(classes=classes)


def adapt(
    pair: DomainPair,
    method: str,
    *,
    seed: int,
    weight: float | None = None,
    steps: int = 32,
    learning_rate: float = 0.02,
    optimiser: str = "SGD",
    batch: int = 32,
    shift: int = 2,
    start: str = "letters",
    policy: str = "full",
    entropy_conditioning: bool = False,
    batch_norm: str = "separate",
    watch: Callable[[int, GlyphNet, Mapping[str, float]], None] | None = None,
) -> GlyphNet:
    """Train on source labels while the target's features are drawn to the source's; return the network.

    The loss is CE(source) + weight · term; the term is `coral_loss` or `mk_mmd_loss` of the features. For DANN and CDAN
    it is the loss of a domain classifier behind a reversed gradient of strength weight · λ(p) (`reversal_schedule`);
    the domain classifier itself always learns at full strength. The rate runs through one cycle, as in `training.fit`,
    to which "source only" with AdamW is identical step by step. No target label is used.

    Args:
        pair: the domains; only its source rows, their labels, and its unlabelled target training rows are used.
        method: one of `METHODS`. With weight 0 a method still sends target rows through batch normalisation.
        seed: of new layers, batches and shifts; source batches and shifts are the same for every method.
        weight: of the term; `WEIGHTS` unless told otherwise.
        steps: gradient steps.
        learning_rate: the peak of the cycle, also of the domain classifier.
        optimiser: one of `OPTIMISERS`.
        batch: source rows a step, and target rows a step.
        shift: see `random_shift`; for both domains.
        start: one of `STARTS`.
        policy: which layers train (see `policies.apply_policy`).
        entropy_conditioning: CDAN only: rows with certain predictions count more in the domain loss (CDAN+E).
        batch_norm: ``"separate"``: the domains pass batch normalisation one after the other, each with its own
            statistics, and the running ones follow both in turn; ``"joint"``: both in one batch.
        watch: called after every step with its number (from 0), the network, and the step's ``task`` and ``term``
            losses; for DANN and CDAN also ``strength`` and the domain classifier's ``accuracy`` on its batch. It may
            switch the network to evaluation mode.

    Returns:
        The network in evaluation mode.

    Raises:
        ValueError: an unknown method, start, optimiser, policy or way through batch normalisation; the message lists
            the choices.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown; expected one of {', '.join(map(repr, METHODS))}")
    if batch_norm not in ("joint", "separate"):
        raise ValueError(f"batch_norm={batch_norm!r}: expected 'joint' or 'separate'")
    if optimiser not in OPTIMISERS:
        raise ValueError(f"optimiser {optimiser!r} is unknown; expected one of {', '.join(map(repr, OPTIMISERS))}")
    weight = WEIGHTS[method] if weight is None else weight
    network = start_network(start, seed=seed)
    apply_policy(network, policy)
    width, classes = network.head.in_features, network.head.out_features
    judge = None
    if method in ("DANN", "CDAN"):
        judge = DomainClassifier(width if method == "DANN" else width * classes)
    parameters = [p for p in network.parameters() if p.requires_grad] + (list(judge.parameters()) if judge else [])
    stepper = OPTIMISERS[optimiser](parameters, learning_rate)
    # cycle_momentum: AdamW's first beta is cycled as in `fit`; SGD keeps its momentum.
    cycle = optimiser == "AdamW"
    rates = torch.optim.lr_scheduler.OneCycleLR(stepper, learning_rate, cycle_momentum=cycle, total_steps=steps)
    of_source, of_target = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 2**20)
    source_order = target_order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        train_mode(network)
        rows, source_order = next_rows(source_order, len(pair.source_images), batch, of_source)
        source = random_shift(pair.source_images[rows], shift, of_source)
        labels = pair.source_labels[rows]
        terms: dict[str, float] = {}
        if method == "source only":
            loss = F.cross_entropy(network(source), labels)
            terms["task"], terms["term"] = loss.item(), 0.0
        else:
            rows, target_order = next_rows(target_order, len(pair.target_images), batch, of_target)
            target = random_shift(pair.target_images[rows], shift, of_target)
            if batch_norm == "joint":
                h_S, h_T = network.features(torch.cat([source, target])).split([len(source), len(target)])
            else:
                h_S, h_T = network.features(source), network.features(target)
            z_S = network.head(h_S)
            task = F.cross_entropy(z_S, labels)
            if judge is None:
                term = coral_loss(h_S, h_T) if method == "deep CORAL" else mk_mmd_loss(h_S, h_T)
                loss = task + weight * term
            else:
                strength = weight * reversal_schedule(step / max(steps - 1, 1))
                weights_S = weights_T = None
                if method == "CDAN":
                    p_S, p_T = (z.detach().softmax(1) for z in (z_S, network.head(h_T)))
                    h_S, h_T = outer_features(h_S, p_S), outer_features(h_T, p_T)
                    if entropy_conditioning:
                        weights_S, weights_T = certainty(p_S), certainty(p_T)
                d_S, d_T = (judge(reverse_gradient(h, strength)) for h in (h_S, h_T))
                term = domain_loss(d_S, d_T, weights_S, weights_T)
                loss = task + term
                terms["strength"] = strength
                terms["accuracy"] = ((d_S < 0).float().mean() + (d_T > 0).float().mean()).item() / 2
            terms["task"], terms["term"] = task.item(), term.item()
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        rates.step()
        if watch is not None:
            watch(step, network, MappingProxyType(terms))
    return network.eval()
