"""Means with their intervals, the only statistics that the course reports."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A mean and the two ends of its confidence interval; the ends are None for a single value."""

    mean: float
    low: float | None
    high: float | None


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Return the mean of independent draws and Student's t interval for it.

    With n values of standard deviation s the interval is mean ± t · s / √n, where t is the (1 + confidence)/2
    quantile of Student's distribution with n − 1 degrees of freedom (Student 1908).

    Args:
        values: one number a draw; at least one, all finite.
        confidence: of the interval, between 0 and 1.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    numbers = np.asarray(values, dtype=float).ravel()
    if not numbers.size or not np.isfinite(numbers).all():
        raise ValueError(f"expected at least one finite value, got {numbers.tolist()}")
    mean = float(numbers.mean())
    if numbers.size == 1:
        return Interval(mean, None, None)
    quantile = stats.t.ppf((1 + confidence) / 2, numbers.size - 1)
    half = float(quantile * numbers.std(ddof=1) / np.sqrt(numbers.size))
    return Interval(mean, mean - half, mean + half)


def paired_difference(first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Return the interval of ``first − second``, value i of both coming from the same draw.

    Raises:
        ValueError: the two do not have the same length.
    """
    if len(first) != len(second):
        raise ValueError(f"paired values need the same draws: got {len(first)} and {len(second)}")
    return mean_interval(np.subtract(first, second), confidence=confidence)


def wilson_interval(right: int, of: int, *, confidence: float = 0.95) -> Interval:
    """Return the share ``right / of`` and Wilson's score interval for it (Wilson 1927).

    For the accuracy on a test set: unlike mean ± 1.96 standard errors it stays within [0, 1] and keeps its promise for
    few rows and for shares near 0 or 1. It speaks of one fixed classifier on all rows of which these are a sample.

    Args:
        right: successes, such as rows classified correctly.
        of: trials, at least 1.
        confidence: of the interval, between 0 and 1.

    Raises:
        ValueError: there is no trial, or not 0 ≤ ``right`` ≤ ``of``.
    """
    if not 0 <= right <= of or not of:
        raise ValueError(f"expected 0 ≤ right ≤ of with at least one trial, got right={right}, of={of}")
    share = float(right / of)
    squared = float(stats.norm.ppf((1 + confidence) / 2) ** 2) / of
    centre = (share + squared / 2) / (1 + squared)
    half = float(np.sqrt(squared * (share * (1 - share) + squared / 4))) / (1 + squared)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))
