"""Knowledge distillation: a small student learns from the soft answers of a large teacher (Hinton et al. 2015)."""

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn import functional as F

from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.training import fit

STUDENT_WIDTHS = (8, 16, 32)
"""Channels of the student's three stages: a quarter to a third of GlyphNet's, a fifteenth of its parameters."""

UNLABELLED = -1
"""In a tensor of labels: this row has none, only the teacher's answer counts."""


def kd_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor | None,
    temperature: float,
    alpha: float,
) -> torch.Tensor:
    """Return the distillation loss of a batch (Hinton, Vinyals and Dean 2015).

    L = α T² KL(p_t ‖ p_s) + (1 − α) CE(y, softmax(z_s)), with p_t = softmax(z_t / T), p_s = softmax(z_s / T). Both
    terms are means over all rows; a row without a label adds 0 to the second. (A mean over the labelled rows alone
    would rest on two or three of them in a mostly unlabelled batch, and its noise would drown the soft term.)

    Args:
        student_logits: z_s, ``(n, classes)``.
        teacher_logits: z_t, ``(n, classes)``; no gradient flows into them.
        labels: int64 ``(n,)``, `UNLABELLED` where a row has none; None where no row has.
        temperature: T > 0.
        alpha: α, the share of the soft term, between 0 and 1.

    Raises:
        ValueError: the shapes differ, T is not positive or α is outside [0, 1].
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student logits {tuple(student_logits.shape)} and teacher logits {tuple(teacher_logits.shape)}: "
            "expected the same rows and classes"
        )
    if temperature <= 0 or not 0 <= alpha <= 1:
        raise ValueError(f"temperature={temperature}, alpha={alpha}: expected T > 0 and alpha between 0 and 1")
    soft = F.kl_div(
        F.log_softmax(student_logits / temperature, dim=1),
        F.log_softmax(teacher_logits.detach() / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )
    loss = alpha * temperature**2 * soft
    if labels is None or alpha == 1:
        return loss
    hard = F.cross_entropy(student_logits, labels, ignore_index=UNLABELLED, reduction="sum") / len(labels)
    return loss + (1 - alpha) * hard


def small_student(seed: int, *, classes: int = 10, widths: tuple[int, int, int] = STUDENT_WIDTHS) -> GlyphNet:
    """Return a narrow GlyphNet with random weights, at most a tenth of the teacher's parameters at `STUDENT_WIDTHS`.

    Args:
        seed: of the weights; the global random numbers of PyTorch are left as they were.
        classes: of the head.
        widths: channels of the three stages.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GlyphNet(classes, widths).to(memory_format=torch.channels_last)


def train_teacher(
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    seed: int,
    steps: int = 100,
    learning_rate: float = 3e-3,
    classes: int = 10,
    shift: int = 2,
) -> GlyphNet:
    """Return GlyphNet, pre-trained on letters and fine-tuned on the labelled rows, in evaluation mode.

    Its parameters no longer require a gradient.

    Args:
        images: ``(n, 1, 32, 32)``.
        labels: int64 ``(n,)``, every row labelled.
        seed: of the new head, batches and shifts; PyTorch's global random numbers are left as they were.
        steps, learning_rate, shift: see `workbook.methods.torch.training.fit`.
        classes: of the new head.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        teacher = load_glyphnet(classes=classes)
    fit(teacher, images, labels, steps=steps, learning_rate=learning_rate, seed=seed, shift=shift)
    return teacher.requires_grad_(False)


class _SameView(nn.Module):
    """Student and teacher on one and the same augmented batch; only the student is a part of this module."""

    def __init__(self, student: nn.Module, teacher: nn.Module):
        super().__init__()
        self.student = student
        self._ask = lambda views: teacher(views)  # not registered: train() and the optimiser must not reach it

    def forward(self, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both networks' logits of ``views``, the teacher's without a gradient."""
        with torch.no_grad():
            soft = self._ask(views)
        return self.student(views), soft


def distil(
    student: nn.Module,
    teacher: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor | None,
    *,
    temperature: float,
    alpha: float,
    steps: int,
    seed: int,
    learning_rate: float = 1e-2,
    batch: int = 64,
    weight_decay: float = 0.01,
    shift: int = 2,
    parameters: Iterable | None = None,
    penalty: Callable[[nn.Module], torch.Tensor] | None = None,
) -> nn.Module:
    """Train the student with `kd_loss` and return it in evaluation mode; the teacher is put in evaluation mode.

    At every step teacher and student answer for the *same* shifted batch. The optimiser, the schedule and the shifts
    are those of `workbook.methods.torch.training.fit`: with the same seed and batch, ``fit`` on the same rows sees the
    same views, which makes 'student alone' the paired baseline.

    Args:
        student: maps ``(n, 1, 32, 32)`` to logits ``(n, classes)``; changed in place.
        teacher: likewise; its weights and statistics are not changed.
        images: ``(n, 1, 32, 32)``, labelled and unlabelled rows together.
        labels: int64 ``(n,)``, `UNLABELLED` (−1) where a row has none; None where no row has (then α must be 1).
        temperature, alpha: see `kd_loss`.
        steps, seed, learning_rate, batch, weight_decay, shift: see ``fit``.
        parameters: what the optimiser gets in place of the student's own: for a loss with layers of its own.
        penalty: a term computed at every step from the student *after* both networks have answered for the batch, and
            added to the loss (a loss on inner features keeps them with forward hooks).

    Raises:
        ValueError: labels are None and α is not 1, or labels and images differ in length.
    """
    if labels is None:
        if alpha != 1:
            raise ValueError(f"alpha={alpha} without labels: expected alpha=1, the teacher's answers alone")
        labels = torch.full((len(images),), UNLABELLED)
    if len(labels) != len(images):
        raise ValueError(f"{len(images)} images and {len(labels)} labels: expected as many (-1 where there is none)")
    teacher.eval()
    fit(
        _SameView(student, teacher),
        images,
        labels,
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        batch=batch,
        weight_decay=weight_decay,
        shift=shift,
        parameters=parameters,
        penalty=None if penalty is None else lambda pair: penalty(pair.student),
        criterion=lambda both, y: kd_loss(*both, y, temperature, alpha),
    )
    return student.eval()


@torch.inference_mode()
def predict_logits(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the logits ``(n, classes)`` of images ``(n, 1, 32, 32)``, in evaluation mode, without a graph."""
    network.eval()
    return torch.cat([network(part) for part in images.split(256)])


def agreement(first: nn.Module, second: nn.Module, images: torch.Tensor) -> float:
    """Return the share of images ``(n, 1, 32, 32)`` on which two networks choose the same class.

    It is the fidelity of a student to its teacher (Stanton et al. 2021): right or wrong does not enter.
    """
    same = predict_logits(first, images).argmax(1) == predict_logits(second, images).argmax(1)
    return same.double().mean().item()
