"""Adapting a trained network to unlabelled target pictures when the source rows are gone: four ways.

Every function takes a network and target pictures, leaves that network as it is and returns another one in evaluation
mode. None sees a label. `adabn` changes the statistics of batch normalisation, `tent` its scales and offsets too,
`self_training` every parameter, `shot` every parameter below the head.
"""

import copy
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from data_scripts.glyphnet_torch import GlyphNet
from workbook.methods.torch.interpolation import reestimate_statistics
from workbook.methods.torch.policies import train_mode
from workbook.methods.torch.training import fit


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the entropy H(p) = −Σ p_k ln p_k of every row's p = softmax(z), in nats.

    Its gradient is ∂H/∂z_k = −p_k (ln p_k + H): logits whose ln p_k lies above the mean ln p (which is −H) rise when H
    is made smaller. At the uniform p and at any one-hot p it is zero.

    Args:
        logits: ``(n, classes)``.

    Returns:
        ``(n,)``, between 0 and ln(classes).
    """
    log_p = logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def diversity(logits: torch.Tensor) -> torch.Tensor:
    """Return the entropy of the *mean* prediction p̄ = (1/n) Σ softmax(zᵢ): ln(classes) when all are equally common.

    Args:
        logits: ``(n, classes)``.

    Returns:
        A scalar, never below the mean of `entropy` (entropy is concave).
    """
    mean = logits.softmax(1).mean(0)
    return -torch.xlogy(mean, mean).sum()


def information_loss(logits: torch.Tensor, *, diversity_weight: float = 1.0) -> torch.Tensor:
    """Return mean entropy − weight · diversity of a batch (Krause et al. 2010; Liang et al. 2020).

    At weight 1 it is minus the mutual information between row and predicted class, so between −ln(classes) and 0. At
    weight 0 every constant one-hot prediction is a minimum: nothing asks for more than one class.

    Args:
        logits: ``(n, classes)``.
        diversity_weight: of the second term.
    """
    loss = entropy(logits).mean()
    return loss - diversity_weight * diversity(logits) if diversity_weight else loss


def centroid_labels(features: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """Return a pseudo-label for every row: the class whose centroid is nearest by cosine (Liang et al. 2020, eq. 4-6).

    First every class's centroid is the mean of the unit-length features weighted by the class's probability, and every
    row takes the nearest one's class; then centroids are the means of the rows so labelled, and labels are taken once
    more. A class that no row took keeps its first centroid.

    Args:
        features: ``(n, d)``.
        probabilities: ``(n, classes)``.

    Returns:
        int64 ``(n,)``.
    """
    unit = F.normalize(features, dim=1)
    centroids = F.normalize(probabilities.T @ unit, dim=1)
    labels = (unit @ centroids.T).argmax(1)
    members = F.one_hot(labels, probabilities.shape[1]).to(unit.dtype)
    taken = members.sum(0) > 0
    centroids = torch.where(taken[:, None], F.normalize(members.T @ unit, dim=1), centroids)
    return (unit @ centroids.T).argmax(1)


def adabn(network: GlyphNet, images: torch.Tensor, *, batch: int = 1024) -> GlyphNet:
    """Return a copy whose batch normalisation holds the target's means and variances (AdaBN, Li et al. 2016).

    A layer then computes γ (x − μ_T)/σ_T + β: each channel is brought to the mean and the variance that it had in the
    source. With all pictures in one batch, μ_T and σ_T² are those of the pictures; over several batches the variances
    are averaged and lack the variance of the batches' means (see `reestimate_statistics`).

    Args:
        network: not changed.
        images: ``(n, 1, 32, 32)``, at least two, in random order if they are more than ``batch``.
        batch: pictures a forward pass.
    """
    return reestimate_statistics(copy.deepcopy(network), images, batch=batch)


@contextmanager
def _only_these_train(network: nn.Module, trained: list[nn.Parameter]):
    """Let only the given parameters require a gradient, until the block ends."""
    before = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    chosen = {id(parameter) for parameter in trained}
    for parameter, _ in before:
        parameter.requires_grad_(id(parameter) in chosen)
    try:
        yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)


def tent_stream(
    network: GlyphNet,
    images: torch.Tensor,
    *,
    batch: int = 64,
    learning_rate: float = 1e-3,
    steps: int = 1,
    episodic: bool = False,
    batch_statistics: bool = True,
) -> tuple[torch.Tensor, GlyphNet]:
    """Predict a stream of pictures while adapting to it (TENT, Wang et al. 2021).

    Every batch is normalised by its own statistics. Adam takes ``steps`` steps on the scales and offsets of batch
    normalisation against the batch's mean `entropy`; the batch's prediction is the last forward pass *before* the last
    step, as published. So the first batch, and with ``steps=1`` every episodic one, is predicted with the source's
    scales and offsets.

    Args:
        network: not changed; nothing outside batch normalisation trains.
        images: ``(n, 1, 32, 32)``, in the order in which they arrive.
        batch: pictures that arrive together; a last batch of one picture joins the one before.
        learning_rate: of Adam.
        steps: per batch.
        episodic: go back to the source's scales and offsets (and a fresh Adam) before every batch.
        batch_statistics: normalise every batch by its own statistics, as published; False keeps the network's running
            ones, which a batch of few pictures, or of one class, needs (give it an `adabn` network).

    Returns:
        Logits ``(n, classes)``, and the adapted network: its scales and offsets after the last step, with the
        statistics of all ``images`` under them (the given ones if ``batch_statistics`` is False).

    Raises:
        ValueError: fewer than two images, no batch normalisation, or a step count below 1.
    """
    if len(images) < 2 or steps < 1:
        raise ValueError(f"{len(images)} images and steps={steps}: expected at least 2 images and 1 step")
    adapted = copy.deepcopy(network).eval()
    norms = [module for module in adapted.modules() if isinstance(module, _BatchNorm)]
    trained = [parameter for norm in norms for parameter in norm.parameters()]
    if not trained:
        raise ValueError("the network has no batch normalisation with scales and offsets: TENT has nothing to train")
    start = [parameter.detach().clone() for parameter in trained]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train(batch_statistics)
        norm.momentum = 0.0  # the running statistics stay as they are
    parts = list(images.split(batch))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    optimiser = torch.optim.Adam(trained, lr=learning_rate)
    predicted = []
    with _only_these_train(adapted, trained):
        for part in parts:
            if episodic:
                with torch.no_grad():
                    for parameter, value in zip(trained, start, strict=True):
                        parameter.copy_(value)
                optimiser = torch.optim.Adam(trained, lr=learning_rate)
            for _ in range(steps):
                logits = adapted(part)
                optimiser.zero_grad()
                entropy(logits).mean().backward()
                optimiser.step()
            predicted.append(logits.detach())
    adapted.zero_grad()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    if batch_statistics:
        reestimate_statistics(adapted, images, batch=1024)
    return torch.cat(predicted), adapted.eval()


def tent(
    network: GlyphNet,
    images: torch.Tensor,
    *,
    batch: int = 64,
    learning_rate: float = 1e-3,
    steps: int = 1,
) -> GlyphNet:
    """Return the network that `tent_stream` leaves after one pass over the images, to be scored on other pictures.

    Args:
        network: not changed.
        images: ``(n, 1, 32, 32)``, in random order.
        batch, learning_rate, steps: see `tent_stream`.
    """
    return tent_stream(network, images, batch=batch, learning_rate=learning_rate, steps=steps)[1]


@torch.inference_mode()
def _outputs(network: GlyphNet, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and class probabilities of all images, in evaluation mode."""
    network.eval()
    features = torch.cat([network.features(part) for part in images.split(256)])
    return features, network.head(features).softmax(1)


def pseudo_labels(network: GlyphNet, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the network's own answers and how sure it is of them.

    Args:
        network: set to evaluation mode.
        images: ``(n, 1, 32, 32)``.

    Returns:
        int64 ``(n,)`` classes, and their probabilities ``(n,)``.
    """
    confidence, labels = _outputs(network, images)[1].max(1)
    return labels.clone(), confidence.clone()


def self_training(
    network: GlyphNet,
    images: torch.Tensor,
    *,
    seed: int,
    threshold: float = 0.9,
    rounds: int = 2,
    steps: int = 15,
    batch: int = 32,
    learning_rate: float = 1e-3,
    shift: int = 2,
) -> GlyphNet:
    """Train on the network's own confident answers, in rounds (pseudo-labels: Lee 2013; here without source rows).

    At the start of a round every picture gets its most probable class; those with a probability of at least
    ``threshold`` are trained on by cross-entropy with random shifts (`fit`); the next round asks the new network.

    Args:
        network: not changed.
        images: ``(n, 1, 32, 32)``.
        seed: of batches and shifts.
        threshold: in [0, 1); 0 keeps every answer.
        rounds: of labelling and training; with fewer than two confident pictures a round ends them all.
        steps, batch, learning_rate, shift: of each round's `fit`.

    Raises:
        ValueError: a threshold outside [0, 1).
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold={threshold}: expected a probability from 0 to below 1")
    adapted = copy.deepcopy(network).eval()
    for number in range(rounds):
        labels, confidence = pseudo_labels(adapted, images)
        kept = confidence >= threshold
        if kept.sum() < 2:
            break
        fit(
            adapted,
            images[kept],
            labels[kept],
            steps=steps,
            learning_rate=learning_rate,
            seed=seed * 1000 + number,
            batch=batch,
            shift=shift,
        )
    return adapted.eval()


def shot(
    network: GlyphNet,
    images: torch.Tensor,
    *,
    seed: int,
    epochs: int = 2,
    batch: int = 64,
    learning_rate: float = 1e-3,
    pseudo_weight: float = 0.3,
    diversity_weight: float = 1.0,
    shift: int = 2,
) -> GlyphNet:
    """Move the features under a frozen head until it answers surely and evenly (SHOT, Liang et al. 2020).

    The head (the 'source hypothesis') keeps its weights; everything below trains on

        mean H(p) − diversity_weight · H(p̄) + pseudo_weight · CE(p, pseudo-label),

    see `information_loss`; the pseudo-labels are `centroid_labels`, taken anew at the start of every epoch.

    Args:
        network: not changed.
        images: ``(n, 1, 32, 32)``.
        seed: of batches and shifts.
        epochs: passes over the images.
        batch, learning_rate, shift: see `fit`.
        pseudo_weight: of the cross-entropy against the pseudo-labels; 0.3 as published for objects (0.1 for digits).
        diversity_weight: 1 as published; 0 leaves entropy alone, which may send everything to one class.

    Raises:
        ValueError: fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} images: expected at least 2 to normalise a batch")
    adapted = copy.deepcopy(network)
    labels = torch.zeros(len(images), dtype=torch.int64)
    steps_of_epoch = max(1, len(images) // batch)

    def before_step(step: int) -> None:
        if step % steps_of_epoch == 0:
            labels.copy_(centroid_labels(*_outputs(adapted, images)))
            train_mode(adapted)

    def criterion(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = information_loss(logits, diversity_weight=diversity_weight)
        return loss + pseudo_weight * F.cross_entropy(logits, targets) if pseudo_weight else loss

    below = [p for name, p in adapted.named_parameters() if not name.startswith("head.")]
    with _only_these_train(adapted, below):
        fit(
            adapted,
            images,
            labels,
            steps=epochs * steps_of_epoch,
            learning_rate=learning_rate,
            seed=seed,
            batch=batch,
            shift=shift,
            before_step=before_step,
            criterion=criterion,
        )
    return adapted.eval()
