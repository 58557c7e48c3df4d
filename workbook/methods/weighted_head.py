"""A linear head on frozen features for rows that count unequally, and class frequencies that change after training."""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from workbook.methods.reweighting import check_weights

STRENGTHS = (10.0, 100.0, 1000.0)
"""Candidates for scikit-learn's C, on features of length 1: large hardly regularises."""

_LEAST = 1e-12


def head(C: float) -> LogisticRegression:
    """Return an unfitted multinomial logistic regression."""
    return LogisticRegression(C=C, tol=1e-3, max_iter=500)


def held_out_probabilities(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    C: float,
    classes: int,
    folds: int = 3,
    seed: int = 0,
) -> np.ndarray:
    """Return class probabilities ``(n, classes)`` of every row by a head that was fitted without the row's fold.

    Args:
        features: ``(n, d)``.
        labels: ``(n,)``, values ``0 … classes - 1``.
        weights: ``(n,)`` of the rows in fitting; all 1 unless told otherwise.
        C: see `STRENGTHS`.
        classes: how many there are; one that a fold's other rows lack gets probability 0 there.
        folds: stratified; fewer where the smallest class has fewer rows.
        seed: of the folds.

    Raises:
        ValueError: a class has a single row, so that nothing of it can be held out and still be learned.
    """
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=float)
    present, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        raise ValueError(f"class {present[counts.argmin()]} has one row: expected at least two to hold one out")
    found = np.zeros((len(labels), classes))
    splitter = StratifiedKFold(min(folds, counts.min()), shuffle=True, random_state=seed)
    for train, held in splitter.split(features, labels):
        model = head(C).fit(features[train], labels[train], sample_weight=weights[train])
        found[np.ix_(held, model.classes_)] = model.predict_proba(features[held])
    return found


def fit_weighted_head(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    strengths: Sequence[float] = STRENGTHS,
    folds: int = 3,
    seed: int = 0,
) -> LogisticRegression:
    """Fit a head on weighted losses, its C chosen by importance-weighted cross-validation (Sugiyama et al. 2007).

    The candidate with the least Σ_i w_i · (log loss of row i, held out) is taken: an estimate of its loss in the
    target, without a target label. Weights are divided by their mean, so that C means the same for every set of them.

    Args:
        features: ``(n, d)``.
        labels: ``(n,)``, values ``0, 1, …``.
        weights: ``(n,)``, none negative; all 1 unless told otherwise.
        strengths: candidates for C.
        folds, seed: as in `held_out_probabilities`.

    Raises:
        ValueError: weights that are negative, not finite or all 0; or as `held_out_probabilities`.
    """
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=float)
    check_weights(weights)
    weights, classes = weights / weights.mean(), int(labels.max()) + 1

    def loss(C: float) -> float:
        given = held_out_probabilities(features, labels, weights, C=C, classes=classes, folds=folds, seed=seed)
        return -float(weights @ np.log(given[np.arange(len(labels)), labels] + _LEAST))

    best = min(strengths, key=loss) if len(strengths) > 1 else strengths[0]
    return head(best).fit(features, labels, sample_weight=weights)


def change_frequencies(probabilities: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return p_T(y | x) ∝ p_S(y | x) π_T(y)/π_S(y): Bayes' rule under label shift (Saerens et al. 2002).

    In logits, log π_T − log π_S is added; nothing is trained again.

    Args:
        probabilities: ``(n, classes)``, of a classifier trained at the source's frequencies.
        source, target: ``(classes,)`` frequencies, the source's above 0.

    Raises:
        ValueError: the shapes do not fit, or a source frequency is 0.
    """
    probabilities, source, target = (np.asarray(a, dtype=float) for a in (probabilities, source, target))
    if not source.shape == target.shape == probabilities.shape[1:] or (source <= 0).any():
        raise ValueError(
            f"probabilities {probabilities.shape}, frequencies {source.shape} and {target.shape}: expected one a "
            "column, the source's above 0"
        )
    moved = probabilities * target / source
    return moved / moved.sum(axis=1, keepdims=True)


def recalls(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the share of each class's rows that is recognised, ``(classes,)``.

    Under label shift the accuracy at class frequencies π is Σ_c π_c recall_c, whatever frequencies the scored rows
    have; the plain mean is mean-class (balanced) accuracy.

    Raises:
        ValueError: a class has no row among ``labels``; the message names it.
    """
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise ValueError(f"class {int(counts.argmin())} has no row to be scored on")
    return np.bincount(labels, weights=np.equal(labels, predicted), minlength=classes) / counts
