"""Scores that rank adapted models without one target label, and how much of the best candidate's gain a choice keeps.

Every criterion here is *higher is better*, except `dev_risk`, which estimates a risk. They read predictions on target
rows that the models were adapted to (or other unlabelled target rows), never test rows.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import entr, logsumexp
from sklearn.linear_model import LogisticRegression

FEWEST_ROWS = 3
"""Fewer rows than this have no neighbours to compare."""


def _distributions(probabilities: np.ndarray) -> np.ndarray:
    rows = np.asarray(probabilities, dtype=float)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"expected probabilities (n, classes) with at least one row, got shape {rows.shape}")
    if not np.isfinite(rows).all() or (rows < 0).any() or not np.allclose(rows.sum(axis=1), 1, atol=1e-3):
        raise ValueError("expected probabilities, rows that add up to 1: apply softmax to logits first")
    return rows


def certainty(probabilities: np.ndarray) -> float:
    """Return minus the mean entropy of the rows, −(1/n) Σ_i H(p_i), in nats: 0 for one-hot rows, −log K for uniform.

    A model that gives every row the same class with certainty has the largest value there is (Morerio et al. 2018
    choose by entropy; see `mutual_information` for the repair).

    Args:
        probabilities: ``(n, classes)``.

    Raises:
        ValueError: these are no probabilities.
    """
    return float(-entr(_distributions(probabilities)).sum(axis=1).mean())


def mutual_information(probabilities: np.ndarray) -> float:
    """Return the mutual information of input and predicted class, H(p̄) − (1/n) Σ_i H(p_i), in nats.

    p̄ is the mean row. The value lies between 0 (all rows equal: uniform, or collapsed to one class) and log K (one-hot
    rows, every class equally often). It is the information-maximisation criterion (Bridle et al. 1992; Shi and Sha
    2012) and the loss of SHOT (Liang et al. 2020) with its sign changed.

    Args:
        probabilities: ``(n, classes)``.

    Raises:
        ValueError: these are no probabilities.
    """
    rows = _distributions(probabilities)
    return float(entr(rows.mean(axis=0)).sum() - entr(rows).sum(axis=1).mean())


def soft_neighbourhood_density(probabilities: np.ndarray, *, temperature: float = 0.05) -> float:
    """Return the mean entropy of every row's soft neighbourhood (Saito et al. 2021), in nats.

    With f_i = p_i / ‖p_i‖, row i chooses another row j ≠ i with probability q_ij ∝ exp(⟨f_i, f_j⟩ / temperature); the
    score is (1/n) Σ_i H(q_i·). Few rows near by give a low entropy, a dense cluster a high one, log(n − 1) at most. For
    K equal clusters of m = n/K identical one-hot rows it is log Z − (m − 1) e^{1/t} / (t Z), where t is the temperature
    and Z = (m − 1) e^{1/t} + (n − m): near log(m − 1) for small t. A model that gives all rows one class reaches the
    maximum.

    Args:
        probabilities: ``(n, classes)``, at least `FEWEST_ROWS` rows.
        temperature: of the neighbourhood; 0.05 is the authors'.

    Raises:
        ValueError: these are no probabilities, there are too few rows, or the temperature is not positive.
    """
    rows = _distributions(probabilities)
    if len(rows) < FEWEST_ROWS or temperature <= 0:
        raise ValueError(
            f"{len(rows)} rows, temperature={temperature}: expected at least {FEWEST_ROWS} rows and a temperature "
            "above 0"
        )
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    logits = units @ units.T / temperature
    np.fill_diagonal(logits, -np.inf)
    logs = logits - logsumexp(logits, axis=1, keepdims=True)
    return float(entr(np.exp(logs)).sum(axis=1).mean())


def reverse_validation(
    target_features: np.ndarray,
    pseudo_labels: np.ndarray,
    source_features: np.ndarray,
    source_labels: np.ndarray,
    *,
    C: float = 10.0,
) -> float:
    """Return the accuracy on *source* rows of a classifier that learned the candidate's labels on *target* rows.

    The way back of Zhong et al. (2010), also used by Ganin et al. (2016): forward, a candidate labels the target rows;
    backward, a logistic regression learns those labels and is scored on source rows, whose labels are known. Here all
    candidates share one frozen feature map, so that the scores differ by the pseudo-labels alone. If the backward
    classifier made no mistake of its own, pseudo-labels that exchange the classes by a permutation would score the
    source share of the classes that it leaves in place.

    Args:
        target_features: ``(n_T, d)``, the same for every candidate.
        pseudo_labels: ``(n_T,)``, the candidate's predictions.
        source_features, source_labels: ``(n_S, d)`` and ``(n_S,)``, labelled rows that no candidate was trained on.
        C: inverse strength of the backward classifier's regulariser.

    Raises:
        ValueError: rows and labels differ in number.
    """
    pseudo_labels, source_labels = np.asarray(pseudo_labels), np.asarray(source_labels)
    if len(target_features) != len(pseudo_labels) or len(source_features) != len(source_labels):
        raise ValueError(
            f"{len(target_features)} target rows and {len(pseudo_labels)} labels, {len(source_features)} source rows "
            f"and {len(source_labels)} labels: expected a label a row"
        )
    if len(np.unique(pseudo_labels)) == 1:  # a constant classifier needs no fit
        return float(np.mean(source_labels == pseudo_labels[0]))
    backward = LogisticRegression(C=C, max_iter=500).fit(target_features, pseudo_labels)
    return float(backward.score(source_features, source_labels))


def dev_risk(losses: np.ndarray, weights: np.ndarray) -> float:
    """Return the deep embedded validation risk, importance-weighted with a control variate (You et al. 2019).

    With w the weights p_T/p_S of source validation rows and ℓ their losses, E_S[wℓ] is the target risk under covariate
    shift, and E_S[w] = 1. So mean(wℓ) + η (mean(w) − 1) has the same expectation for every constant η, and the least
    variance at η = −Cov(wℓ, w) / Var(w), which is estimated here. Constant weights leave the plain mean of wℓ. The
    value may be negative: it is an estimate.

    Args:
        losses: ``(n,)`` of labelled source rows that the model was not trained on.
        weights: ``(n,)``, estimated density ratios, at least 0.

    Raises:
        ValueError: the two differ in length or hold fewer than two rows, or a weight is negative.
    """
    losses, weights = np.asarray(losses, dtype=float), np.asarray(weights, dtype=float)
    if losses.shape != weights.shape or losses.ndim != 1 or len(losses) < 2 or (weights < 0).any():
        raise ValueError(
            f"losses {losses.shape} and weights {weights.shape}: expected two vectors of one length, at least two "
            "rows, and no negative weight"
        )
    weighted, spread = weights * losses, weights.var(ddof=1)
    varies = spread > (1e-9 * weights.mean()) ** 2  # equal weights leave nothing but rounding to divide by
    eta = -np.cov(weighted, weights)[0, 1] / spread if varies else 0.0
    return float(weighted.mean() + eta * (weights.mean() - 1))


def share_kept(scores: Sequence[float], accuracies: Sequence[float], *, default: float | None = None) -> float:
    """Return how much of the oracle's gain the candidate with the best score keeps.

    (a(chosen) − a_0) / (max a − a_0), where a are the candidates' target test accuracies and a_0 is the default: the
    mean candidate (a blind choice) unless told otherwise. 1 is the best candidate, 0 the blind choice, and below 0 the
    criterion does harm. Candidates that tie for the best score count with the mean of their accuracies.

    Args:
        scores: one a candidate, higher is better.
        accuracies: of the same candidates.
        default: another accuracy to count from.

    Raises:
        ValueError: the two differ in length, a score is not finite, or no candidate is better than the default.
    """
    scores, accuracies = np.asarray(scores, dtype=float), np.asarray(accuracies, dtype=float)
    if scores.shape != accuracies.shape or not len(scores) or not np.isfinite(scores).all():
        raise ValueError(f"expected a finite score for each of {len(accuracies)} accuracies, got {scores.tolist()}")
    start = accuracies.mean() if default is None else default
    if accuracies.max() <= start:
        raise ValueError(f"no candidate is better than the default {start:.3f}: there is nothing to keep")
    chosen = accuracies[scores == scores.max()].mean()
    return float((chosen - start) / (accuracies.max() - start))
