"""Every adaptation method of chapter 07 behind one call: its predictions, their accuracy, and what it took.

The experiment of lesson 07d. The protocol is inductive: methods see labelled source rows and unlabelled target
*training* rows; target test rows are predicted once. Three kinds of methods stand side by side: classifiers on frozen
features (or on pixels), networks trained on the source and then adapted without it, and networks trained on both.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods import selection
from workbook.methods.alignment import align, coral_map, gaussian_ot_map
from workbook.methods.reweighting import logistic_ratio
from workbook.methods.torch import source_free
from workbook.methods.torch.deep_alignment import adapt
from workbook.methods.torch.domains import DomainPair, train_source
from workbook.methods.torch.feature_alignment import mmd_map
from workbook.methods.torch.learning_curve import contrast_normalised, unit_length
from workbook.methods.torch.training import extract_features

ENTROPY_ALONE: Mapping = MappingProxyType({"diversity_weight": 0.0, "pseudo_weight": 0.0, "learning_rate": 1e-2})
"""SHOT with both of its safeguards forgotten."""

SGD: Mapping = MappingProxyType({"optimiser": "SGD", "learning_rate": 0.03, "steps": 32, "batch_norm": "separate"})
"""How the four methods that train on both domains are trained; as a setting of "source only", their own baseline."""

DEFAULTS: Mapping[str, Mapping] = MappingProxyType(
    {
        "source only": {"steps": 120, "learning_rate": 3e-3},
        "TENT": {"learning_rate": 1e-3, "batch": 64},
        "self-training": {"threshold": 0.9, "rounds": 3, "steps": 25, "learning_rate": 1e-3},
        "SHOT": {"epochs": 2, "learning_rate": 1e-3, "pseudo_weight": 0.3, "diversity_weight": 1.0},
        "deep CORAL": {**SGD} | {"weight": 1.0},
        "DAN": {**SGD} | {"weight": 1.0},
        "DANN": {**SGD} | {"weight": 0.3},
        "CDAN": {**SGD} | {"weight": 1.0},
    }
)
"""What a method runs with where its setting says nothing; written out, so that no other default moves the grid."""

SETTINGS: Mapping[str, tuple[Mapping, ...]] = MappingProxyType(
    {
        "pixels": ({},),
        "frozen probe": ({},),
        "CORAL": ({},),
        "optimal transport": ({},),
        "MMD map": ({},),
        "source only": ({}, {"steps": 40}, SGD),
        "AdaBN": ({}, {"start": "head only"}),
        "TENT": ({}, {"learning_rate": 1e-2}, {"learning_rate": 1e-1}, {"start": "head only"}),
        "self-training": ({}, {"threshold": 0.0}, {"start": "head only"}),
        "SHOT": ({}, {"learning_rate": 3e-3}, ENTROPY_ALONE, {"start": "head only"}),
        "deep CORAL": ({}, {"weight": 10.0}, {"weight": 1000.0}),
        "DAN": ({}, {"weight": 10.0}),
        "DANN": ({}, {"weight": 1.0}),
        "CDAN": ({}, {"weight": 0.1}),
    }
)
"""Candidate settings by method; the first is the method's default, the others are what somebody might try."""

METHODS = tuple(SETTINGS)
FROZEN = ("pixels", "frozen probe", "CORAL", "optimal transport", "MMD map")
"""Methods that train no network."""

SOURCE_FREE = ("AdaBN", "TENT", "self-training", "SHOT")
"""Methods that start from a network trained on the source and see no source row."""

PROBE_C = 30.0
"""Inverse strength of the regulariser of every logistic regression on frozen features."""

MOST_WEIGHT = 20.0
"""Density ratios are cut at this value: where the domains hardly overlap, estimates run into the millions."""


def describe(method: str, setting: Mapping) -> str:
    """Return a candidate in a few words, such as ``"SHOT"`` or ``"DANN, weight 5"``; no two candidates share one."""
    if setting == ENTROPY_ALONE:
        return f"{method}, entropy alone"
    if setting == SGD:
        return f"{method}, SGD"
    words = {"learning_rate": "rate", "diversity_weight": "diversity"}
    parts = [
        f"from {value}" if name == "start" else f"{words.get(name, name)} {value:g}" for name, value in setting.items()
    ]
    return ", ".join([method, *parts]).replace(".", "·")


CANDIDATES: Mapping[str, tuple[str, Mapping]] = MappingProxyType(
    {describe(method, setting): (method, setting) for method in METHODS for setting in SETTINGS[method]}
)
"""``{description: (method, setting)}`` of all candidates."""


@dataclass(frozen=True)
class Outcome:
    """What one run leaves.

    Attributes:
        target: logits ``(n, 10)`` on the target's training rows, the ones adapted to.
        validation, test: logits on target validation and test rows.
        source: logits on source validation rows.
        ratio: estimated density ratio p_T/p_S of the source validation rows in the run's own features.
        seconds: of the adaptation, and of the source training that it needs.
    """

    target: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    source: np.ndarray
    ratio: np.ndarray
    seconds: float


class AdaptationBench:
    """A pair of domains and a seed, with what the runs share: frozen features and networks trained on the source.

    Args:
        pair: the domains.
        seed: of every training.
        networks: the networks of `start` that are already there; benches with the same source and seed may share them.
    """

    def __init__(self, pair: DomainPair, seed: int, networks: dict[str, tuple[GlyphNet, float]] | None = None) -> None:
        self.pair, self.seed = pair, seed
        self._networks = {} if networks is None else networks
        order = torch.randperm(len(pair.target_images), generator=torch.Generator().manual_seed(seed))
        self.shuffled = pair.target_images[order]

    @cached_property
    def images(self) -> dict[str, torch.Tensor]:
        """Pictures by what they are for: ``train`` (source), ``source`` (its validation rows), ``target`` and so on."""
        pair = self.pair
        return {
            "train": pair.source_images,
            "source": pair.source_validation_images,
            "target": pair.target_images,
            "validation": pair.target_validation_images,
            "test": pair.target_test_images,
        }

    @cached_property
    def features(self) -> dict[str, np.ndarray]:
        """Unit-length features of the shipped GlyphNet, frozen, by the names of `images`."""
        network = load_glyphnet()
        return {name: unit_length(extract_features(network, rows).numpy()) for name, rows in self.images.items()}

    def start(self, name: str) -> tuple[GlyphNet, float]:
        """Return a network trained on the source, and the seconds that took: ``"fine-tuned"`` or ``"head only"``."""
        if name not in self._networks:
            begun = time.perf_counter()
            if name == "fine-tuned":
                network = train_source(self.pair, seed=self.seed, **DEFAULTS["source only"])
            elif name == "head only":
                network = adapt(
                    self.pair,
                    "source only",
                    seed=self.seed,
                    policy="head",
                    optimiser="AdamW",
                    learning_rate=3e-2,
                    steps=80,
                )
            else:
                raise ValueError(f"start {name!r} is unknown; expected 'fine-tuned' or 'head only'")
            self._networks[name] = network, time.perf_counter() - begun
        return self._networks[name]

    def _classifier(self, method: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Logits and features of the methods that train no network."""
        labels = self.pair.source_labels.numpy()
        if method == "pixels":
            rows = {name: contrast_normalised(x.flatten(1).numpy()) for name, x in self.images.items()}
            nearest = KNeighborsClassifier(1).fit(rows["train"], labels)
            return {name: np.log(nearest.predict_proba(x) + 1e-6) for name, x in rows.items()}, rows
        rows = dict(self.features)
        if method in ("CORAL", "optimal transport"):
            kind = coral_map if method == "CORAL" else gaussian_ot_map
            move = align(rows["train"], rows["target"], matrix=kind)
        elif method == "MMD map":
            move = mmd_map(rows["train"], rows["target"], seed=self.seed)
        else:
            move = None
        if move is not None:
            rows |= {name: move(rows[name]) for name in ("train", "source")}
        probe = LogisticRegression(C=PROBE_C, max_iter=1000).fit(rows["train"], labels)
        return {name: probe.decision_function(x) for name, x in rows.items()}, rows

    def network(self, method: str, setting: Mapping) -> tuple[GlyphNet, float]:
        """Return the adapted network and the seconds that it took, with its source training."""
        plain, before = not setting, 0.0
        setting = {**DEFAULTS.get(method, {}), **setting}
        if method in SOURCE_FREE:
            begun_with, before = self.start(setting.pop("start", "fine-tuned"))
        begun = time.perf_counter()
        if method == "source only" and plain:
            return self.start("fine-tuned")
        if method == "source only" and "optimiser" not in setting:
            network = train_source(self.pair, seed=self.seed, **setting)
        elif method == "AdaBN":
            network = source_free.adabn(begun_with, self.shuffled)
        elif method == "TENT":
            network = source_free.tent(begun_with, self.shuffled, **setting)
        elif method == "self-training":
            network = source_free.self_training(begun_with, self.shuffled, seed=self.seed, **setting)
        elif method == "SHOT":
            network = source_free.shot(begun_with, self.shuffled, seed=self.seed, **setting)
        else:
            network = adapt(self.pair, method, seed=self.seed, **setting)
        return network, before + time.perf_counter() - begun

    def run(self, method: str, setting: Mapping) -> Outcome:
        """Adapt and predict.

        Args:
            method: one of `METHODS`.
            setting: one of the method's `SETTINGS`, or another dictionary of its arguments.

        Raises:
            ValueError: an unknown method; the message lists the choices.
        """
        if method not in METHODS:
            raise ValueError(f"method {method!r} is unknown; expected one of {', '.join(map(repr, METHODS))}")
        begun = time.perf_counter()
        if method in FROZEN:
            _ = self.features
            begun = time.perf_counter()
            logits, features = self._classifier(method)
            seconds = time.perf_counter() - begun
        else:
            network, seconds = self.network(method, setting)
            features = {name: extract_features(network, x).numpy() for name, x in self.images.items()}
            with torch.inference_mode():
                logits = {name: network.head(torch.from_numpy(h)).numpy() for name, h in features.items()}
        ratio = self._ratio(features) if method != "pixels" else np.ones(len(features["source"]))
        kept = {name: logits[name] for name in ("target", "validation", "test", "source")}
        return Outcome(**kept, ratio=ratio, seconds=seconds)

    def _ratio(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        scale = np.concatenate([features["train"], features["target"]]).std()
        ratio = logistic_ratio(features["train"] / scale, features["target"] / scale, strengths=(0.01,), folds=2)
        return np.minimum(ratio(features["source"] / scale), MOST_WEIGHT)

    def accuracy(self, outcome: Outcome, rows: str = "test") -> float:
        """Return the accuracy on target ``"test"`` or ``"validation"`` rows."""
        labels = {"test": self.pair.target_test_labels, "validation": self.pair.target_validation_labels}[rows]
        return float((getattr(outcome, rows).argmax(axis=1) == labels.numpy()).mean())

    def scores(self, outcome: Outcome) -> dict[str, float]:
        """Return every criterion's score of a run, higher is better; of `CRITERIA` only the last sees target labels."""
        probabilities = softmax(outcome.target, axis=1)
        source_labels = self.pair.source_validation_labels.numpy()
        losses = -log_softmax(outcome.source, axis=1)[np.arange(len(source_labels)), source_labels]
        features = self.features
        return {
            "source validation": -float(losses.mean()),
            "DEV": -selection.dev_risk(losses, outcome.ratio),
            "certainty": selection.certainty(probabilities),
            "information": selection.mutual_information(probabilities),
            "neighbourhood density": selection.soft_neighbourhood_density(probabilities),
            "reverse validation": selection.reverse_validation(
                features["target"], outcome.target.argmax(axis=1), features["source"], source_labels
            ),
            "labels": self.accuracy(outcome, "validation"),
        }


CRITERIA = (
    "source validation",
    "DEV",
    "certainty",
    "information",
    "neighbourhood density",
    "reverse validation",
    "labels",
)
"""The keys of `AdaptationBench.scores`; ``"labels"`` reads labelled target validation rows, for comparison."""
