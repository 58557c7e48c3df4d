"""Distillation from answers that were computed once: a teacher too slow to be asked at every step.

A cached answer belongs to the version of the picture that the teacher has seen. So each picture is turned into a few
fixed versions, the teacher answers for every one, and the student is trained on those versions: the teacher is asked
rows × versions times, however many students, steps and settings follow.
"""

import time
from collections.abc import Callable

import torch
from torch import nn

from data_scripts.glyphnet_torch import GlyphNet
from workbook.methods.torch.distillation import STUDENT_WIDTHS, kd_loss, small_student
from workbook.methods.torch.training import fit, random_shift


def colour_student(seed: int, *, classes: int = 10, widths: tuple[int, int, int] = STUDENT_WIDTHS) -> GlyphNet:
    """Return `small_student` with a stem for red, green and blue: ``(N, 3, 32, 32)`` to logits ``(N, classes)``.

    Args:
        seed: of the weights; the global random numbers of PyTorch are left as they were.
        classes, widths: see `small_student`.
    """
    student = small_student(seed, classes=classes, widths=widths)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student.stem = nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False)
    return student.to(memory_format=torch.channels_last)


def other_version(images: torch.Tensor, *, mirror: bool, reach: int, seed: int) -> torch.Tensor:
    """Return every image shifted at random by up to ``reach`` pixels, after mirroring it if asked.

    Args:
        images: ``(N, C, H, W)``.
        mirror: left to right; leave it off where that changes the class, as with letters and digits.
        reach: see `random_shift`.
        seed: of the shifts.
    """
    images = images.flip(3) if mirror else images
    shifted = random_shift(images, reach, torch.Generator().manual_seed(seed))
    return shifted.contiguous(memory_format=torch.channels_last)


@torch.no_grad()  # and not inference_mode: its tensors may not take part in a loss
def answers(network: nn.Module, images: torch.Tensor, *, batch: int = 32) -> torch.Tensor:
    """Return the logits ``(N, classes)`` of images ``(N, C, H, W)``, in evaluation mode.

    Batches are small because a deep network's maps then stay in a core's cache; that was faster than batches of 128.
    """
    network.eval()
    return torch.cat([network(part) for part in images.split(batch)])


def with_labels(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the targets of `cached_kd`: the teacher's logits and, as a last column, the label: ``(N, classes + 1)``.

    Args:
        logits: float ``(N, classes)``.
        labels: int64 ``(N,)``, `workbook.methods.torch.distillation.UNLABELLED` where a row has none.
    """
    return torch.cat([logits, labels[:, None].to(logits.dtype)], dim=1)


def cached_kd(temperature: float, alpha: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the criterion, for `workbook.methods.torch.training.fit`, of targets made by `with_labels`.

    Training must then change no picture (``shift=0``): the answers are those for the pictures as they are.

    Args:
        temperature, alpha: see `workbook.methods.torch.distillation.kd_loss`.
    """

    def loss(student_logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return kd_loss(student_logits, targets[:, :-1], targets[:, -1].long(), temperature, alpha)

    return loss


def training_speed(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, steps: int) -> float:
    """Return how many pictures a second a network learns from, one batch again and again, after two warm-up steps.

    Args:
        network: is trained by it: pass one that is not needed any more.
        images, labels: one batch.
        steps: that are timed.
    """
    options = {"learning_rate": 1e-3, "seed": 0, "batch": len(images), "shift": 0}
    fit(network, images, labels, steps=2, **options)
    begun = time.perf_counter()
    fit(network, images, labels, steps=steps, **options)
    if images.is_cuda:
        torch.cuda.synchronize()
    return steps * len(images) / (time.perf_counter() - begun)
