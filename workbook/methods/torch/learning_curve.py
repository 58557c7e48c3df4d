"""Accuracy against the number of labelled examples, for four ways to learn a task: the experiment of chapter 01.

Every arm gets the same: k examples a class (the same rows in every arm of a draw), the same augmentation to use or
not (shifts of up to two pixels) and the same search budget (four candidate settings, scored on validation rows, for
draws that are not reported). Test rows are looked at once, with the setting already chosen.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.task import Task, sample_k_shot
from workbook.methods.torch.training import accuracy, as_images, extract_features, fit, random_shift

SHIFT = 2
SHIFTED_COPIES = 8
SEARCH_DRAWS = (1000, 1001, 1002)
"""Seeds of the draws that settings are chosen on; no reported draw has them."""

CANDIDATES: dict[str, tuple[dict, ...]] = {
    "pixels": tuple({"centred": m, "copies": c} for m in (False, True) for c in (0, SHIFTED_COPIES)),
    "scratch": tuple({"learning_rate": rate} for rate in (1e-3, 3e-3, 1e-2, 3e-2)),
    "probe": tuple({"C": C, "copies": copies} for C in (30.0, 300.0) for copies in (0, SHIFTED_COPIES)),
    "finetuned": tuple({"learning_rate": rate} for rate in (3e-4, 1e-3, 3e-3, 1e-2)),
}
"""Four settings an arm: the whole search."""

_RANDOM_NUMBERS = threading.Lock()

ARMS = tuple(CANDIDATES)
LABELS = {
    "pixels": "nearest neighbour on pixels",
    "scratch": "trained from scratch",
    "probe": "linear probe on frozen features",
    "finetuned": "fine-tuned",
}


def describe(setting: Mapping) -> str:
    """Return a candidate setting in a few words, such as ``"rate 0.003"`` or ``"C 30, shifted copies"``."""
    words = {"learning_rate": "rate {:g}", "C": "C {:g}"}
    parts = [words[name].format(value) for name, value in setting.items() if name in words]
    if setting.get("centred"):
        parts.append("contrast-normalised")
    if setting.get("copies"):
        parts.append("shifted copies")
    return ", ".join(parts) or "as they are"


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Scale every row of ``(n, d)`` to Euclidean length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def contrast_normalised(rows: np.ndarray) -> np.ndarray:
    """Subtract from every row of ``(n, d)`` its own mean, and scale it to length 1."""
    return unit_length(rows - rows.mean(axis=1, keepdims=True))


@dataclass
class Bench:
    """A task with everything that its runs share.

    Attributes:
        task: the target task; images ``(N, 32, 32)``.
        pretrained: returns a fresh pre-trained network.
        steps: gradient steps of the two trained arms.
    """

    task: Task
    pretrained: Callable[[], GlyphNet]
    steps: int

    candidates: ClassVar[Mapping[str, Sequence[Mapping]]] = CANDIDATES
    """What `search` chooses from, by arm."""

    search_draws: ClassVar[Sequence[int]] = SEARCH_DRAWS
    """The draws that it chooses on unless told otherwise."""

    def __post_init__(self) -> None:
        self.images = as_images(self.task.inputs)
        self.labels = torch.from_numpy(self.task.labels)
        self._generator = torch.Generator().manual_seed(0)
        self._copies = [self.images]
        self._place = np.full(len(self.labels), -1)
        self._place[self.task.train] = np.arange(len(self.task.train))
        self._features: list[np.ndarray] = []
        self._extractor: GlyphNet | None = None
        self._lock = threading.Lock()

    def _views(self, arm: str, copies: int) -> list[np.ndarray]:
        """Vectors of all images, then of shifted copies of the training images: pixels, or features of unit length."""
        with self._lock:
            while len(self._copies) <= copies:
                self._copies.append(random_shift(self.images, SHIFT, self._generator)[self.task.train])
            if arm == "pixels":
                return [copy.flatten(1).numpy() for copy in self._copies[: copies + 1]]
            self._extractor = self._extractor or self.pretrained()
            for copy in self._copies[len(self._features) : copies + 1]:
                self._features.append(unit_length(extract_features(self._extractor, copy).numpy()))
            return self._features[: copies + 1]

    def _classifier(self, arm: str, train: np.ndarray, setting: Mapping) -> KNeighborsClassifier | LogisticRegression:
        """Return the fitted classifier of an arm that trains no network."""
        copies = setting["copies"]
        first, *shifted = self._views(arm, copies)
        inputs = np.concatenate([first[train], *(view[self._place[train]] for view in shifted)])
        if setting.get("centred"):
            inputs = contrast_normalised(inputs)
        labels = np.tile(self.task.labels[train], copies + 1)
        if arm == "pixels":
            model = KNeighborsClassifier(1)
        else:
            # C multiplies the sum over rows: copies must not count as more evidence.
            model = LogisticRegression(C=setting["C"] / (copies + 1), max_iter=1000)
        return model.fit(inputs, labels)

    def _classify(self, arm: str, train: np.ndarray, score: np.ndarray, setting: Mapping) -> float:
        rows = self._views(arm, 0)[0][score]
        if setting.get("centred"):
            rows = contrast_normalised(rows)
        return float(self._classifier(arm, train, setting).score(rows, self.task.labels[score]))

    def network(self, arm: str, seed: int) -> GlyphNet:
        """Return the network that a trained arm starts from: random, or pre-trained with a new random head."""
        # New weights come from PyTorch's global random numbers: runs side by side must not interleave there.
        with _RANDOM_NUMBERS:
            torch.manual_seed(seed)
            classes = len(self.task.class_names)
            if arm == "scratch":
                return GlyphNet(classes).to(memory_format=torch.channels_last)
            network = self.pretrained()
            network.head = nn.Linear(network.head.in_features, classes)
            return network

    def _train(self, arm: str, train: np.ndarray, score: np.ndarray, setting: Mapping, seed: int) -> float:
        network = self.network(arm, seed)
        rate = setting["learning_rate"]
        fit(
            network,
            self.images[train],
            self.labels[train],
            steps=self.steps,
            learning_rate=rate,
            seed=seed,
            shift=SHIFT,
        )
        return accuracy(network, self.images[score], self.labels[score])

    def run(
        self, arm: str, k: int, draw: int, setting: Mapping, rows: str = "test", training_seed: int | None = None
    ) -> float:
        """Learn from k examples a class and return the accuracy on other rows.

        Args:
            arm: one of `ARMS`.
            k: examples a class.
            draw: seed of the examples, and of the training unless ``training_seed`` says otherwise.
            setting: one of the arm's `CANDIDATES`.
            rows: ``"test"`` or ``"validation"``.
            training_seed: of initial weights, batches and shifts.
        """
        train = sample_k_shot(self.task, k, seed=draw)
        score = {"test": self.task.test, "validation": self.task.validation}[rows]
        if arm in ("pixels", "probe"):
            return self._classify(arm, train, score, setting)
        return self._train(arm, train, score, setting, draw if training_seed is None else training_seed)

    def run_all(self, runs: Sequence[tuple]) -> list[float]:
        """Return `run` of every tuple of its arguments ``(arm, k, draw, setting[, rows, training_seed])``, in order.

        On networks this small, several runs of one thread each are faster than one run of several threads.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(threads) as pool:
                return list(pool.map(lambda run: self.run(*run), runs))
        finally:
            torch.set_num_threads(threads)

    def search(self, arm: str, k: int, *, draws: Sequence[int] | None = None) -> int:
        """Return the index of the arm's candidate with the best mean validation accuracy over the search draws."""
        candidates = self.candidates[arm]
        draws = self.search_draws if draws is None else draws
        runs = [(arm, k, draw, setting, "validation") for setting in candidates for draw in draws]
        scores = np.reshape(self.run_all(runs), (len(candidates), len(draws)))
        return int(scores.mean(axis=1).argmax())


def learning_curves(
    bench: Bench, ks: Sequence[int], draws: Sequence[int], chosen: Mapping[tuple[str, int], int]
) -> dict[tuple[str, int], list[float]]:
    """Return the test accuracies of every arm at every k, one number a draw, in the order of ``draws``.

    Args:
        bench: the task.
        ks: examples a class.
        draws: seeds; draw i of every arm and k is the same draw, so differences are paired.
        chosen: index into `CANDIDATES` by ``(arm, k)``.
    """
    runs = [(arm, k, draw, CANDIDATES[arm][chosen[arm, k]]) for arm in ARMS for k in ks for draw in draws]
    curves: dict[tuple[str, int], list[float]] = {}
    for (arm, k, *_), score in zip(runs, bench.run_all(runs), strict=True):
        curves.setdefault((arm, k), []).append(score)
    return curves
