"""The linear probe with everything that spoiled labels ask for: soft targets, row weights, a shift of the logits."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax


def fit_probe(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    C: float,
    weights: np.ndarray | None = None,
    offset: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights ``(classes, d)`` and bias ``(classes,)`` of a multinomial logistic regression.

    They minimise C Σ_i w_i CE(t_i, softmax(W h_i + b + offset)) + ‖W‖²/2, scikit-learn's objective; the problem is
    convex, and L-BFGS gets the gradient C Σ_i w_i (p_i − t_i) h_iᵀ + W. The offset is used in fitting only: with
    log class shares it gives the logit-adjusted loss (Menon et al. 2021).

    Args:
        features: ``(n, d)``.
        targets: ``(n, classes)``, each row a distribution over classes: one-hot, smoothed or soft.
        C: inverse strength of the regulariser, positive.
        weights: ``(n,)`` of the rows; all 1 unless told otherwise.
        offset: ``(classes,)`` added to every row's logits.

    Raises:
        ValueError: C is not positive, or features and targets differ in length.
    """
    if C <= 0 or len(features) != len(targets):
        raise ValueError(f"C={C}, {len(features)} rows, {len(targets)} targets: expected C above 0 and a target a row")
    n, classes = targets.shape
    inputs = np.hstack([features, np.ones((n, 1))]).astype(np.float64)
    weights = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
    offset = np.zeros(classes) if offset is None else offset
    scale = 1 / (C * weights.sum())  # the objective as a mean, so that one tolerance fits all n

    def objective(flat):
        W = flat.reshape(classes, -1)
        logs = log_softmax(inputs @ W.T + offset, axis=1)
        errors = (np.exp(logs) * targets.sum(axis=1, keepdims=True) - targets) * weights[:, None]
        ridge = W.copy()
        ridge[:, -1] = 0  # the bias is free
        value = -(weights[:, None] * targets * logs).sum() / weights.sum() + scale * (ridge**2).sum() / 2
        return value, (errors.T @ inputs / weights.sum() + scale * ridge).ravel()

    found = minimize(
        objective,
        np.zeros(classes * inputs.shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 500, "gtol": 1e-4},
    )
    W = found.x.reshape(classes, -1)
    return W[:, :-1], W[:, -1]
