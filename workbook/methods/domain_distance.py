"""How far apart two samples are, by how well a classifier tells them apart: the proxy A-distance."""

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

STRENGTHS = tuple(np.logspace(-3, 5, 9))
"""Candidate regularisers of the domain classifier (ridge penalties)."""

LEAST_ROWS = 8
"""Fewer rows of a domain than this leave too few in a half to fit and choose on."""


def proxy_a_distance(source: np.ndarray, target: np.ndarray, *, seed: int) -> float:
    """Return the proxy A-distance 2(1 − 2ε) of two samples, from a linear classifier (Ben-David et al. 2007).

    ε is the error of a ridge classifier that tells source from target, the mean of its error on source rows and on
    target rows, so that chance is ½ whatever the sizes. The rows are cut into two halves; each half is scored by the
    classifier fitted on the other, whose penalty is chosen by leave-one-out inside that other half. No row that is
    scored takes part in fitting or choosing.

    The value is signed: for two samples of one distribution its mean over repetitions is 0, so about half of the
    values are below 0. Clip it at 0 only to show it, after averaging. Its largest value is 2. The classifier is
    linear: a difference that no linear classifier sees gives a value near 0.

    Args:
        source: ``(n_S, d)`` features, one row an independent example, at least `LEAST_ROWS`.
        target: ``(n_T, d)``.
        seed: of the cut into halves.

    Raises:
        ValueError: the shapes do not fit, there are too few rows, or a value is not finite.
    """
    source, target = np.asarray(source, dtype=float), np.asarray(target, dtype=float)
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
        raise ValueError(f"expected (n, d) arrays with the same d, got {source.shape} and {target.shape}")
    if min(len(source), len(target)) < LEAST_ROWS:
        raise ValueError(f"{len(source)} source and {len(target)} target rows: expected at least {LEAST_ROWS} of each")
    rows = np.concatenate([source, target])
    if not np.isfinite(rows).all():
        raise ValueError("expected finite features, got some that are not")
    domain = np.repeat([0, 1], [len(source), len(target)])
    wrong = np.empty(len(rows))
    for train, held in StratifiedKFold(2, shuffle=True, random_state=seed).split(rows, domain):
        classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(STRENGTHS, class_weight="balanced"))
        wrong[held] = classifier.fit(rows[train], domain[train]).predict(rows[held]) != domain[held]
    error = (wrong[domain == 0].mean() + wrong[domain == 1].mean()) / 2
    return float(2 * (1 - 2 * error))
