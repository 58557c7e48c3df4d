"""Two domains with the same ten digits: where labels are (the source), and where they are wanted (the target)."""

from dataclasses import dataclass

import torch

from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.handwriting import load_handwriting
from data_scripts.photo_digits import load_photo_digits
from data_scripts.pretrained_torch import load_glyphnet
from data_scripts.printed_digits import load_printed_digits
from workbook.methods.torch.training import as_images, fit

PAIRS = ("printed to handwriting", "handwriting to photo_digits")
"""The pairs that `load_pair` knows."""


@dataclass(frozen=True)
class DomainPair:
    """What an adaptation may see, and what scores it.

    Images are ``(n, 1, 32, 32)`` in channels-last memory order, labels int64 ``(n,)``.

    Attributes:
        name: one of `PAIRS`.
        source_images, source_labels: the labelled rows to train on.
        source_validation_images, source_validation_labels: labelled source rows for choosing settings.
        target_images: the target's training rows, to adapt to; their labels are not here.
        target_validation_images, target_validation_labels: labelled target rows. Whoever chooses on them uses target
            labels, and says so: an oracle.
        target_test_images, target_test_labels: rows that no method adapts to (the inductive protocol), scored once.
    """

    name: str
    source_images: torch.Tensor
    source_labels: torch.Tensor
    source_validation_images: torch.Tensor
    source_validation_labels: torch.Tensor
    target_images: torch.Tensor
    target_validation_images: torch.Tensor
    target_validation_labels: torch.Tensor
    target_test_images: torch.Tensor
    target_test_labels: torch.Tensor


def load_pair(name: str, *, split_seed: int = 0) -> DomainPair:
    """Load a source and a target with the same classes; no digit is in both.

    Args:
        name: one of `PAIRS`.
        split_seed: of the splits into rows. For ``"handwriting to photo_digits"`` also of the two halves of the
            writing: one half stays plain and is the source, the other lies over photographs and is the target.

    Raises:
        ValueError: the name is not one of `PAIRS`.
    """
    if name not in PAIRS:
        raise ValueError(f"pair {name!r} is unknown; expected one of {', '.join(map(repr, PAIRS))}")
    if name == "printed to handwriting":
        source, target = load_printed_digits(split_seed=split_seed), load_handwriting(split_seed=split_seed)
    else:
        source = load_handwriting(split_seed=split_seed, part="first")
        target = load_photo_digits(split_seed=split_seed, part="second")

    def rows(task, which) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, labels = task.rows(which)
        return as_images(inputs), torch.from_numpy(labels)

    return DomainPair(
        name,
        *rows(source, source.train),
        *rows(source, source.validation),
        rows(target, target.train)[0],
        *rows(target, target.validation),
        *rows(target, target.test),
    )


def train_source(pair: DomainPair, *, seed: int, steps: int = 120, learning_rate: float = 3e-3) -> GlyphNet:
    """Return the pre-trained GlyphNet, fine-tuned on the source's labels alone: the baseline of every adaptation.

    Args:
        pair: the domains.
        seed: of the new head, batches and shifts.
        steps, learning_rate: see `fit`.
    """
    torch.manual_seed(seed)
    network = load_glyphnet(classes=10)
    return fit(
        network, pair.source_images, pair.source_labels, steps=steps, learning_rate=learning_rate, seed=seed, shift=2
    )
