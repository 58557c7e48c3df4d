"""Ways to train one small student, side by side: the experiment of lesson 08.

Every arm of a draw starts from the same random student, takes the same number of gradient steps on batches of the same
size, may use the same augmentation (shifts of up to two pixels) and has four candidate settings beside one learning
rate that all share; settings are chosen on validation rows, for draws that are not reported.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.task import Task, sample_k_shot
from workbook.methods.torch.distillation import (
    UNLABELLED,
    distil,
    predict_logits,
    small_student,
    train_teacher,
)
from workbook.methods.torch.learning_curve import SHIFT
from workbook.methods.torch.training import as_images, fit

SEARCH_DRAWS = (1000, 1001)
"""Seeds of the draws that settings are chosen on; no reported draw has them."""

RATES = (3e-3, 1e-2, 2e-2, 4e-2)
"""Peak learning rates; the best for the student alone is every arm's."""

BATCH = 32

CANDIDATES: dict[str, tuple[dict, ...]] = {
    "alone": tuple({"weight_decay": decay} for decay in (0.01, 0.1, 0.5, 2.0)),
    "smoothing": tuple({"smoothing": share} for share in (0.1, 0.2, 0.4, 0.6)),
    "kd": tuple({"temperature": T, "alpha": alpha} for T in (2.0, 8.0) for alpha in (0.5, 0.9)),
    "unlabelled": tuple({"temperature": T, "alpha": 1.0} for T in (1.0, 2.0, 4.0, 8.0)),
    "answers": tuple({"smoothing": share} for share in (0.0, 0.2, 0.4, 0.6)),
}
"""Four settings an arm: the whole search."""

ABLATIONS = ("shuffled", "no-square")
"""Arms that take one part away from ``"kd"``, at its setting: they are not searched."""

LABELS = {
    "teacher": "teacher",
    "alone": "student alone",
    "smoothing": "label smoothing",
    "kd": "distilled",
    "unlabelled": "distilled, with unlabelled rows",
    "answers": "teacher's hard answers, with unlabelled rows",
    "shuffled": "distilled, wrong classes shuffled",
    "no-square": "distilled, T² forgotten",
}

PAIRS = (
    ("kd", "alone"),
    ("smoothing", "alone"),
    ("kd", "smoothing"),
    ("shuffled", "alone"),
    ("kd", "shuffled"),
    ("no-square", "alone"),
    ("kd", "no-square"),
    ("unlabelled", "kd"),
    ("answers", "alone"),
    ("unlabelled", "alone"),
    ("unlabelled", "answers"),
    ("teacher", "unlabelled"),
    ("teacher", "answers"),
)
"""Pairs of arms whose difference answers a question of the lesson."""


class Scores(NamedTuple):
    """One student's share of right answers, and of answers that are its teacher's."""

    accuracy: float
    agreement: float


class ShuffledTeacher(nn.Module):
    """The teacher with its logits for all classes but the first choice permuted at random, anew for every row.

    The confidence of every answer stays; what it says about *which* other classes come close is lost.
    """

    def __init__(self, teacher: nn.Module, seed: int):
        super().__init__()
        self.teacher = teacher
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits ``(n, classes)`` whose largest stands where the teacher's does."""
        logits = self.teacher(images)
        order = logits.argsort(dim=1, descending=True)
        ranks = torch.rand(len(logits), logits.shape[1] - 1, generator=self._generator).argsort(dim=1) + 1
        others = logits.gather(1, order.gather(1, ranks))
        return torch.scatter(logits, 1, order, torch.cat([logits.gather(1, order[:, :1]), others], dim=1))


def differences(scores: Mapping[str, Sequence[float]]) -> dict[tuple[str, str], np.ndarray]:
    """Return first minus second, draw by draw, for those of `PAIRS` that have scores."""
    return {(a, b): np.subtract(scores[a], scores[b]) for a, b in PAIRS if a in scores and b in scores}


def difference_name(pair: tuple[str, str]) -> str:
    """Return a pair of arms in words, such as ``"distilled − student alone"``."""
    return " − ".join(LABELS[arm] for arm in pair)


def read_settings(values: Mapping[tuple[str, str], tuple[float, ...]], arms: Sequence[str]) -> dict[str, dict]:
    """Return the settings of the arms from a recorded table of settings; `ABLATIONS` get those of ``"kd"``.

    Args:
        values: ``{(label of the arm, name of the setting): (value, …)}``, as `workbook.reference.record_values` reads.
        arms: names of arms.
    """
    label = {arm: LABELS["kd" if arm in ABLATIONS else arm] for arm in arms}
    return {arm: {name: value[0] for (row, name), value in values.items() if row == label[arm]} for arm in arms}


def alpha_without_square(temperature: float, alpha: float) -> float:
    """Return the α of the right loss that weighs its terms as the loss without T² weighs them at ``alpha``.

    α KL + (1 − α) CE is proportional to α′ T² KL + (1 − α′) CE for α′ = α / (α + (1 − α) T²).
    """
    return alpha / (alpha + (1 - alpha) * temperature**2)


class StudentBench:
    """A task with k labelled rows a class, its other training rows without labels, and a teacher for each draw.

    Args:
        task: images ``(N, 32, 32)``.
        k: labelled examples a class.
        steps: gradient steps of every student.
        teacher_steps: gradient steps of the teacher's fine-tuning.
    """

    def __init__(self, task: Task, k: int, *, steps: int, teacher_steps: int):
        self.task, self.k, self.steps, self.teacher_steps = task, k, steps, teacher_steps
        self.images, self.labels = as_images(task.inputs), torch.from_numpy(task.labels)
        self._teachers: dict[int, GlyphNet] = {}
        self._answers: dict[tuple[int, str], torch.Tensor] = {}

    def labelled(self, draw: int) -> np.ndarray:
        """Return the row numbers of the draw's labelled examples."""
        return sample_k_shot(self.task, self.k, seed=draw)

    def teacher(self, draw: int) -> GlyphNet:
        """Return the draw's teacher: GlyphNet fine-tuned on the labelled rows alone."""
        if draw not in self._teachers:
            rows = self.labelled(draw)
            self._teachers[draw] = train_teacher(
                self.images[rows],
                self.labels[rows],
                seed=draw,
                steps=self.teacher_steps,
                classes=len(self.task.class_names),
                shift=SHIFT,
            )
        return self._teachers[draw]

    def student(self, arm: str, draw: int, setting: Mapping) -> GlyphNet:
        """Train a student.

        Args:
            arm: one of `CANDIDATES` or `ABLATIONS`.
            draw: seed of the labelled rows, of the student's weights, batches and shifts.
            setting: ``learning_rate`` and one of the arm's candidates.

        Raises:
            ValueError: an unknown arm; the message lists the choices.
        """
        if arm not in (*CANDIDATES, *ABLATIONS):
            raise ValueError(f"unknown arm {arm!r}: expected one of {(*CANDIDATES, *ABLATIONS)}")
        rows, labels = self.labelled(draw), self.labels
        common = {"steps": self.steps, "seed": draw, "batch": BATCH, "shift": SHIFT}
        common |= {"learning_rate": setting["learning_rate"], "weight_decay": setting.get("weight_decay", 0.01)}
        if arm in ("unlabelled", "answers"):
            others = np.setdiff1d(self.task.train, rows)
            labels = torch.full_like(labels, UNLABELLED)
            labels[rows] = self.labels[rows]
            if arm == "answers":
                labels[others] = predict_logits(self.teacher(draw), self.images[others]).argmax(1)
            rows = np.concatenate([rows, others])
        student = small_student(draw, classes=len(self.task.class_names))
        common["parameters"] = [
            {"params": list(student.parameters()), "fused": True}
        ]  # the same AdamW, one call a step
        if arm in ("alone", "smoothing", "answers"):
            criterion = partial(F.cross_entropy, label_smoothing=setting.get("smoothing", 0.0))
            return fit(student, self.images[rows], labels[rows], criterion=criterion, **common)
        teacher, temperature, alpha = self.teacher(draw), setting["temperature"], setting["alpha"]
        if arm == "no-square":
            alpha = alpha_without_square(temperature, alpha)
        if arm == "shuffled":
            teacher = ShuffledTeacher(teacher, draw)
        images = self.images[rows]
        return distil(student, teacher, images, labels[rows], temperature=temperature, alpha=alpha, **common)

    def run(self, arm: str, draw: int, setting: Mapping, rows: str = "test") -> Scores:
        """Train a student (or take the teacher, ``arm="teacher"``) and score it on other rows.

        Args:
            arm, draw, setting: see `student`; the teacher has no setting.
            rows: ``"test"`` or ``"validation"``.
        """
        scored = {"test": self.task.test, "validation": self.task.validation}[rows]
        images = self.images[scored]
        if (draw, rows) not in self._answers:
            self._answers[draw, rows] = predict_logits(self.teacher(draw), images).argmax(1)
        answers = guesses = self._answers[draw, rows]
        if arm != "teacher":
            guesses = predict_logits(self.student(arm, draw, setting), images).argmax(1)
        right, same = (guesses == wanted for wanted in (self.labels[scored], answers))
        return Scores(right.double().mean().item(), same.double().mean().item())

    def search(self, arms: Sequence[str], *, draws: Sequence[int] = SEARCH_DRAWS) -> dict[str, dict]:
        """Return the setting of every arm with the best mean validation accuracy over the search draws.

        First the learning rate, for the student alone; then each arm's own four candidates at that rate. Of equal
        candidates the first is taken. `ABLATIONS` get the setting of ``"kd"``.
        """

        def best(arm: str, candidates: Sequence[Mapping]) -> dict:
            means = [np.mean([self.run(arm, d, c, "validation").accuracy for d in draws]) for c in candidates]
            return dict(candidates[int(np.argmax(means))])

        rate = best("alone", [{"learning_rate": rate} for rate in RATES])
        searched = dict.fromkeys("kd" if arm in ABLATIONS else arm for arm in arms)
        found = {arm: best(arm, [rate | candidate for candidate in CANDIDATES[arm]]) for arm in searched}
        return {arm: found["kd" if arm in ABLATIONS else arm] for arm in arms}
