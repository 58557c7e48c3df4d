"""Intervals by drawing test rows again (Efron 1979): for means of rows, for the area under the ROC curve, for pairs.

The spread is that over test sets like the one at hand, of classifiers that are fixed.
"""

from collections.abc import Sequence

import numpy as np

from workbook.statistics import Interval


def wins(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return which positive rows score above which negative ones: 1, 0, and ½ for equal scores.

    Its mean is the area under the ROC curve (AUC): the chance that a positive row, drawn at random, scores above a
    negative one (Hanley and McNeil 1982). Means and differences of such matrices of *the same rows* give the mean of
    several AUCs and paired differences.

    Args:
        scores: ``(n,)``, higher for rows that look positive.
        positive: bool ``(n,)``.

    Returns:
        float64 ``(positives, negatives)``.

    Raises:
        ValueError: the lengths differ, or a class is missing.
    """
    scores, positive = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    if scores.shape != positive.shape or scores.ndim != 1 or positive.all() or not positive.any():
        raise ValueError(
            f"{scores.shape} scores, {int(positive.sum())} positives of {positive.size} rows: expected a score for "
            "each row and rows of both kinds"
        )
    above = scores[positive][:, None] - scores[~positive][None]
    return (np.sign(above) + 1) / 2


def bootstrap_mean(values: np.ndarray, *, repeats: int = 2000, seed: int = 0, confidence: float = 0.95) -> Interval:
    """Return the mean of rows and its percentile interval over ``repeats`` draws of rows with replacement.

    For a paired comparison pass the differences, row by row.

    Args:
        values: ``(n,)``, one a row, such as 1 for right and 0 for wrong.
        repeats, seed: of the draws.
        confidence: of the interval.

    Raises:
        ValueError: there is no value.
    """
    values = np.asarray(values, dtype=float).ravel()
    if not values.size:
        raise ValueError("expected at least one value, got none")
    generator = np.random.default_rng(seed)
    # A batch of draws at a time: 2,000 draws of 2,000 rows would lie in memory as 32 MB at once.
    means = [
        values[generator.integers(values.size, size=(100, values.size))].mean(1) for _ in range(-(-repeats // 100))
    ]
    return _interval(values.mean(), np.concatenate(means), confidence)


def bootstrap_auc(wins: np.ndarray, *, repeats: int = 2000, seed: int = 0, confidence: float = 0.95) -> Interval:
    """Return the mean of a matrix of `wins` and its percentile interval, positives and negatives drawn separately.

    Args:
        wins: ``(positives, negatives)``: of one classifier, a mean over several, or the difference of two.
        repeats, seed, confidence: see `bootstrap_mean`.

    Raises:
        ValueError: the matrix is empty.
    """
    wins = np.asarray(wins, dtype=float)
    if wins.ndim != 2 or not wins.size:
        raise ValueError(f"wins of shape {wins.shape}: expected (positives, negatives), at least one of each")
    generator, (positives, negatives) = np.random.default_rng(seed), wins.shape
    # How often each row is drawn; weighting rows and columns by it is the same as copying them, and faster.
    rows = generator.multinomial(positives, np.full(positives, 1 / positives), size=repeats) / positives
    columns = generator.multinomial(negatives, np.full(negatives, 1 / negatives), size=repeats) / negatives
    return _interval(wins.mean(), np.einsum("ri,ij,rj->r", rows, wins, columns, optimize=True), confidence)


def rare_class_scores(scores: Sequence[np.ndarray], rare: np.ndarray, *, threshold: float = 0.0) -> dict[str, float]:
    """Return how well runs of a classifier find a rare class: means over the runs, the AUC with its interval.

    Args:
        scores: of every run, ``(n,)`` each; higher for rows that look like the rare class.
        rare: bool ``(n,)``, the truth.
        threshold: a row is called rare when its score exceeds it.

    Returns:
        ``"accuracy"``, ``"balanced accuracy"`` (the mean of both classes' recalls), ``"AUC"`` and, as ``"from"`` and
        ``"to"``, its 95 % interval over test rows (`bootstrap_auc` of the mean of `wins`).

    Raises:
        ValueError: see `wins`.
    """
    rare = np.asarray(rare, dtype=bool)
    area = bootstrap_auc(np.mean([wins(one, rare) for one in scores], axis=0))
    right = [(np.asarray(one) > threshold) == rare for one in scores]
    recalls = np.mean([[one[rare].mean(), one[~rare].mean()] for one in right], axis=0)
    return {
        "accuracy": float(np.mean(right)),
        "balanced accuracy": float(recalls.mean()),
        "AUC": area.mean,
        "from": area.low,
        "to": area.high,
    }


def _interval(mean: float, draws: np.ndarray, confidence: float) -> Interval:
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(mean), float(low), float(high))
