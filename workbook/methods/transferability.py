"""Transferability scores: numbers, computed from training rows only, that should rank sources before any training.

From features and labels: `h_score`, `shrunk_h_score`, `log_me`. From a source model's class probabilities: `leep`.
"""

from typing import NamedTuple

import numpy as np
from sklearn.covariance import ledoit_wolf


def _class_sums(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums ``(K, d)`` of the rows of every class that occurs, and how many rows each has."""
    if rows.ndim != 2 or len(rows) != len(labels) or len(rows) < 2:
        raise ValueError(f"rows of shape {rows.shape} and {len(labels)} labels: expected (n, d) and n, with n ≥ 2")
    _, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, numbers, rows)
    return sums, counts


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """Return the H-score, tr(C⁺ B), of Bao et al. (2019).

    C is the covariance of all features and B that of the class means (each row replaced by the mean of its class).
    It lies between 0 and min(d, K − 1) and does not change under invertible linear maps. With fewer rows than
    features it is K − 1 whatever the labels say: see `shrunk_h_score`.

    Args:
        features: ``(n, d)``.
        labels: ``(n,)``.

    Raises:
        ValueError: the two do not belong together.
    """
    centred = features - features.mean(axis=0)
    left, stretch, _ = np.linalg.svd(np.asarray(centred, dtype=float), full_matrices=False)
    basis = left[:, stretch > max(centred.shape) * np.finfo(np.float32).eps * stretch.max(initial=0.0)]
    # With C⁺ written out, tr(C⁺ B) is the squared overlap of two subspaces: of the features and of the labels.
    sums, counts = _class_sums(basis, labels)
    return float((np.square(sums).sum(axis=1) / counts).sum())


def shrunk_h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """Return the H-score with a shrunk covariance, (1 − a) tr(C_a⁻¹ B), of Ibrahim et al. (2022).

    ``C_a = (1 − a) C + a tr(C)/d · I`` with the shrinkage a of Ledoit and Wolf (2004).

    Args, Raises: as `h_score`.
    """
    centred = np.asarray(features - features.mean(axis=0), dtype=float)
    sums, counts = _class_sums(centred, labels)
    between = (sums / counts[:, None]).T @ sums / len(labels)
    shrunk, share = ledoit_wolf(centred, assume_centered=True)
    return float((1 - share) * np.trace(np.linalg.solve(shrunk, between)))


def leep(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return LEEP (Nguyen et al. 2020): the mean log-likelihood of the expected empirical predictor.

    From the source model's class probabilities θ(x)_z it takes the joint P(y, z) = mean of θ(x_i)_z over rows with
    y_i = y, and scores p(y | x) = Σ_z P(y | z) θ(x)_z on the same rows. It lies between −H(y) and 0.

    Args:
        probabilities: ``(n, Z)``, rows that sum to 1.
        labels: ``(n,)``.

    Raises:
        ValueError: rows that are not probabilities, or the two do not belong together.
    """
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-4):
        raise ValueError("expected probabilities: non-negative rows that sum to 1 (logits need a softmax first)")
    joint = _class_sums(np.asarray(probabilities, dtype=float), labels)[0] / len(labels)
    given = joint / np.maximum(joint.sum(axis=0), np.finfo(float).tiny)
    numbers = np.unique(labels, return_inverse=True)[1]
    return float(np.log((probabilities @ given.T)[np.arange(len(labels)), numbers]).mean())


class Evidence(NamedTuple):
    """The precisions that maximise the evidence of a Bayesian linear regression, and its logarithm there."""

    alpha: float
    beta: float
    log_evidence: float


def log_evidence(features: np.ndarray, targets: np.ndarray, alpha: float, beta: float) -> float:
    """Return log p(y | F, α, β) of y = F w + ε, w ~ N(0, I/α), ε ~ N(0, I/β).

    Args:
        features: F, ``(n, d)``.
        targets: y, ``(n,)``.
        alpha: precision of the weights' prior.
        beta: precision of the noise.
    """
    n, d = features.shape
    a = alpha * np.eye(d) + beta * features.T @ features
    mean = beta * np.linalg.solve(a, features.T @ targets)
    misfit = beta * np.square(features @ mean - targets).sum() + alpha * np.square(mean).sum()
    return float((d * np.log(alpha) + n * np.log(beta / (2 * np.pi)) - misfit - np.linalg.slogdet(a)[1]) / 2)


def maximise_evidence(
    features: np.ndarray, targets: np.ndarray, *, iterations: int = 500, tolerance: float = 1e-7
) -> Evidence:
    """Maximise the evidence over both precisions by MacKay's fixed point (1992), from one SVD of the features.

    γ = Σ βs²/(α + βs²) over singular values s counts the well-determined weights; α ← γ/‖m‖², β ← (n − γ)/‖Fm − y‖².

    Args:
        features: ``(n, d)``, float64 advised.
        targets: ``(n,)``, not all zero.
        iterations: at most.
        tolerance: on the change of log α and log β.

    Raises:
        ValueError: features and targets differ in length, or all targets are zero.
    """
    if len(features) != len(targets) or not np.any(targets):
        raise ValueError(f"{len(features)} rows of features, {len(targets)} targets: expected as many, not all zero")
    left, s, _ = np.linalg.svd(np.asarray(features, dtype=float), full_matrices=False)
    z = left.T @ targets
    outside = max(float(targets @ targets - z @ z), 0.0)
    n, (least, most) = len(targets), (1e-10, 1e12)
    alpha = beta = 1.0
    for _ in range(iterations):
        pull = alpha + beta * s**2
        gamma = (beta * s**2 / pull).sum()
        weights, misfit = np.square(beta * s * z / pull).sum(), np.square(alpha * z / pull).sum() + outside
        before = np.log([alpha, beta])
        alpha = float(np.clip(gamma / max(weights, 1 / most), least, most))
        beta = float(np.clip((n - gamma) / max(misfit, 1 / most), least, most))
        if np.abs(np.log([alpha, beta]) - before).max() < tolerance:
            break
    return Evidence(alpha, beta, log_evidence(np.asarray(features, dtype=float), targets, alpha, beta))


def log_me(features: np.ndarray, labels: np.ndarray) -> float:
    """Return LogME (You et al. 2021): the maximal log evidence a row, averaged over one-against-rest targets.

    Args:
        features: ``(n, d)``.
        labels: ``(n,)``.
    """
    found = [maximise_evidence(features, (labels == label).astype(float)).log_evidence for label in np.unique(labels)]
    return float(np.mean(found) / len(labels))
