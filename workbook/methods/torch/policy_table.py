"""Ways to adapt a pre-trained network, side by side: accuracy, accuracy on shifted inputs, calibration error.

The experiment of lesson 04c. Every arm of a draw learns from the same rows, may use the same augmentation (shifts of
up to two pixels), takes the same number of gradient steps and has four candidate settings, scored on validation rows
for draws that are not reported. No training and no choice sees a shifted input.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import softmax

from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.shifted import KINDS, shift_images
from data_scripts.task import sample_k_shot
from workbook.calibration import expected_calibration_error
from workbook.methods.torch import learning_curve
from workbook.methods.torch.learning_curve import SHIFT, Bench, contrast_normalised, unit_length
from workbook.methods.torch.lora import add_lora
from workbook.methods.torch.policies import POLICIES, apply_policy, gradual
from workbook.methods.torch.priors import discriminative_groups, fit_head_first, l2_sp
from workbook.methods.torch.training import as_images, extract_features, fit

SEARCH_DRAWS = (1000, 1001)
"""Seeds of the draws that settings are chosen on; no reported draw has them."""

RANK = 4
HEAD_RATE = 1e-2
"""Peak rate of LP-FT's first half, the same at every k."""


def _rates(*rates: float) -> tuple[dict, ...]:
    return tuple({"learning_rate": rate} for rate in rates)


CANDIDATES: dict[str, tuple[dict, ...]] = {
    "pixels": learning_curve.CANDIDATES["pixels"],
    "scratch": _rates(1e-3, 3e-3, 1e-2, 3e-2),
    "probe": learning_curve.CANDIDATES["probe"],
    "head": _rates(3e-3, 1e-2, 3e-2, 1e-1),
    "bias": _rates(1e-3, 3e-3, 1e-2, 3e-2),
    "norm": _rates(1e-3, 3e-3, 1e-2, 3e-2),
    "last-block": _rates(3e-4, 1e-3, 3e-3, 1e-2),
    "full": _rates(3e-4, 1e-3, 3e-3, 1e-2),
    "gradual": _rates(3e-4, 1e-3, 3e-3, 1e-2),
    "lora": _rates(1e-3, 3e-3, 1e-2, 3e-2),
    "discriminative": tuple({"learning_rate": rate, "decay": d} for rate in (3e-3, 1e-2) for d in (0.3, 0.6)),
    "l2-sp": tuple({"learning_rate": rate, "alpha": a} for rate in (3e-3, 1e-2) for a in (0.1, 1.0)),
    "lp-ft": _rates(3e-4, 1e-3, 3e-3, 1e-2),
}
"""Four settings an arm: the whole search."""

ARMS = tuple(CANDIDATES)
LABELS = {
    "pixels": "nearest neighbour on pixels",
    "scratch": "from scratch",
    "probe": "probe (logistic regression)",
    "head": "head only",
    "bias": "head and biases",
    "norm": "head and norms",
    "last-block": "head and last block",
    "full": "full fine-tuning",
    "gradual": "gradual unfreezing",
    "lora": "LoRA",
    "discriminative": "discriminative rates",
    "l2-sp": "L2-SP",
    "lp-ft": "LP-FT",
}


COLUMNS = {
    "accuracy": "accuracy",
    "shifted": "shifted accuracy",
    "calibration": "calibration error",
    "shifted_calibration": "shifted calibration error",
}
"""Headings of the table, by field of `Scores`."""


def describe(setting: Mapping) -> str:
    """Return a candidate setting in a few words, such as ``"rate 0.003, decay 0.3"``."""
    further = [
        f"{word} {setting[name]:g}" for name, word in {"decay": "decay", "alpha": "α"}.items() if name in setting
    ]
    return ", ".join([learning_curve.describe(setting), *further])


def temper(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities ``(n, classes)`` that the same logits give after division by a temperature."""
    logits = np.log(probabilities.clip(1e-12)) / temperature
    return softmax(logits, axis=1)


def best_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature of the lowest mean cross-entropy (Guo et al. 2017), from 0.1 to 10 in steps of 3 %.

    Args:
        probabilities: ``(n, classes)`` of rows that no reported number is computed from.
        labels: ``(n,)``.
    """
    candidates = np.geomspace(0.1, 10, 157)
    at_label = [temper(probabilities, t)[np.arange(len(labels)), labels] for t in candidates]
    return float(candidates[np.argmin([-np.log(p.clip(1e-12)).mean() for p in at_label])])


class Scores(NamedTuple):
    """What a run is judged by: on test rows, on shifted ones, and on these by kind of shift.

    ``confidence`` is the mean probability of the predicted class on test rows, ``tempered`` the calibration error
    there after temperature scaling on validation rows. Where a method gives no probabilities, what needs them is None.
    """

    accuracy: float
    shifted: float
    calibration: float | None
    shifted_calibration: float | None
    by_kind: tuple[float, ...]
    confidence: float | None
    tempered: float | None


class PolicyBench(Bench):
    """A `Bench` (task, pre-trained network, steps) that runs every arm of this module."""

    candidates = CANDIDATES
    search_draws = SEARCH_DRAWS

    def __post_init__(self) -> None:
        super().__post_init__()
        pictures, self.kinds = shift_images(self.task.inputs)
        self.shifted = as_images(pictures)

    def _probabilities(self, arm: str, train: np.ndarray, setting: Mapping) -> Callable[[torch.Tensor], np.ndarray]:
        model = self._classifier(arm, train, setting)

        def probabilities(images: torch.Tensor) -> np.ndarray:
            if arm == "probe":
                rows = unit_length(extract_features(self._extractor, images).numpy())
            else:
                rows = images.flatten(1).numpy()
            return model.predict_proba(contrast_normalised(rows) if setting.get("centred") else rows)

        return probabilities

    def train(self, arm: str, rows: np.ndarray, setting: Mapping, seed: int) -> GlyphNet:
        """Return the network that a trained arm makes of the given rows of the task.

        Args:
            arm: one of `ARMS`, but not ``"pixels"`` or ``"probe"``.
            rows: training rows.
            setting: one of the arm's `CANDIDATES`; ``"lora"`` also takes a ``"rank"``.
            seed: of initial weights, batches and shifts.
        """
        network = self.network("scratch" if arm == "scratch" else "finetuned", seed)
        rate, further = setting["learning_rate"], {}
        data = {"images": self.images[rows], "labels": self.labels[rows], "seed": seed, "shift": SHIFT}
        if arm == "lp-ft":
            half = self.steps // 2
            parts = {"head_steps": half, "steps": self.steps - half, "head_rate": HEAD_RATE}
            return fit_head_first(network, **parts, learning_rate=rate, **data)
        if arm in POLICIES:
            apply_policy(network, arm)
        elif arm == "lora":
            add_lora(network, setting.get("rank", RANK), generator=torch.Generator().manual_seed(seed))
        elif arm == "gradual":
            further = {"before_step": gradual(network, self.steps), "parameters": list(network.parameters())}
        elif arm == "discriminative":
            further = {"parameters": discriminative_groups(network, rate, setting["decay"])}
        elif arm == "l2-sp":
            # The prior takes the place of the pull towards zero.
            backbone = [p for name, p in network.named_parameters() if not name.startswith("head.")]
            groups = [{"params": backbone, "weight_decay": 0.0}, {"params": list(network.head.parameters())}]
            further = {"parameters": groups, "penalty": l2_sp(network, setting["alpha"])}
        elif arm != "scratch":
            raise ValueError(f"unknown arm {arm!r}: expected one of {ARMS}")
        return fit(network, steps=self.steps, learning_rate=rate, **data, **further)

    def _predictor(self, arm: str, k: int, draw: int, setting: Mapping) -> Callable[[torch.Tensor], np.ndarray]:
        rows = sample_k_shot(self.task, k, seed=draw)
        if arm in ("pixels", "probe"):
            return self._probabilities(arm, rows, setting)
        network = self.train(arm, rows, setting, draw)

        @torch.inference_mode()
        def probabilities(images: torch.Tensor) -> np.ndarray:
            return torch.cat([network(part) for part in images.split(256)]).double().softmax(1).numpy()

        return probabilities

    def scores(self, arm: str, k: int, draw: int, setting: Mapping) -> Scores:
        """Learn from k examples a class and score the test rows, as they are and shifted.

        Args:
            arm: one of `ARMS`.
            k: examples a class.
            draw: seed of the examples and of the training.
            setting: one of the arm's `CANDIDATES`.
        """
        predict, labels = self._predictor(arm, k, draw, setting), self.task.labels[self.task.test]
        plain, shifted = (predict(images[self.task.test]) for images in (self.images, self.shifted))
        right = [float((p.argmax(1) == labels).mean()) for p in (plain, shifted)]
        hits, kinds = shifted.argmax(1) == labels, self.kinds[self.task.test]
        by_kind = tuple(float(hits[kinds == kind].mean()) for kind in range(len(KINDS)))
        if arm == "pixels":  # a single neighbour votes 0 or 1: those are no probabilities
            return Scores(*right, None, None, by_kind, None, None)
        errors = [expected_calibration_error(p, labels) for p in (plain, shifted)]
        held = self.task.validation
        temperature = best_temperature(predict(self.images[held]), self.task.labels[held])
        tempered = expected_calibration_error(temper(plain, temperature), labels)
        return Scores(*right, *errors, by_kind, float(plain.max(1).mean()), tempered)

    def run(
        self, arm: str, k: int, draw: int, setting: Mapping, rows: str = "test", training_seed: int | None = None
    ) -> float:
        """Learn from k examples a class and return the plain accuracy on ``"test"`` or ``"validation"`` rows."""
        if training_seed is not None:
            raise ValueError("here the draw is the training's seed too: leave training_seed out")
        which = {"test": self.task.test, "validation": self.task.validation}[rows]
        guesses = self._predictor(arm, k, draw, setting)(self.images[which]).argmax(1)
        return float((guesses == self.task.labels[which]).mean())


def policy_table(
    bench: PolicyBench, arms: Sequence[str], k: int, draws: Sequence[int], chosen: Mapping[str, int]
) -> dict[str, list[Scores]]:
    """Return the test scores of every arm, one a draw, in the order of ``draws``: draw i is the same rows in all arms.

    Args:
        bench: the task.
        arms: some of `ARMS`.
        k: examples a class.
        draws: seeds.
        chosen: index into `CANDIDATES` by arm.
    """
    return {arm: [bench.scores(arm, k, draw, CANDIDATES[arm][chosen[arm]]) for draw in draws] for arm in arms}


def values(table: Mapping[str, Sequence[Scores]], arm: str, column: str) -> np.ndarray:
    """Return one field of an arm's `Scores`, a number a draw (NaN where the method has none)."""
    return np.array([getattr(scores, column) for scores in table[arm]], dtype=float)


def table_rows(table: Mapping[str, Sequence[Scores]], *, minus: str | None = None) -> dict[str, dict[str, np.ndarray]]:
    """Return a `policy_table` as `workbook.lesson.record_table` takes it: ``{label: {column: one number a draw}}``.

    Args:
        table: what `policy_table` returned.
        minus: an arm to subtract draw by draw; its own row is left out.
    """
    rows: dict[str, dict[str, np.ndarray]] = {}
    for arm in [arm for arm in table if arm != minus]:
        for column, heading in COLUMNS.items():
            numbers = values(table, arm, column) - (values(table, minus, column) if minus else 0)
            if not np.isnan(numbers).any():
                rows.setdefault(LABELS[arm], {})[heading] = numbers
    return rows


def trained_parameters(network: GlyphNet, arm: str) -> int:
    """Return how many parameters an arm trains (the last to train, for one that frees them in turn).

    Args:
        network: with its new head; what is frozen is changed in place, and ``"lora"`` adds its updates.
        arm: one of `ARMS`, but not ``"pixels"``.
    """
    if arm == "lora":
        add_lora(network, RANK)
    else:
        apply_policy(network, arm if arm in POLICIES else "head" if arm == "probe" else "full")
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
