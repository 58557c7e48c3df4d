"""How far predicted probabilities are from the frequencies with which they come true."""

import numpy as np


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> float:
    """Return the expected calibration error of the predicted class's probability (Guo et al. 2017, eq. 3).

    The predictions are sorted into ``bins`` intervals (a, b] of confidence of equal width; the error is the mean over
    predictions of |share that is right − mean confidence| in each one's interval. It lies in [0, 1]; it is biased
    upwards for few predictions, so compare only errors measured on equally many.

    Args:
        probabilities: ``(n, classes)``, rows that add up to 1.
        labels: ``(n,)`` class numbers.
        bins: intervals of confidence.

    Raises:
        ValueError: the two do not have the same length, or a row does not add up to 1 (logits, perhaps).
    """
    probabilities, labels = np.asarray(probabilities, dtype=float), np.asarray(labels)
    if len(probabilities) != len(labels) or not len(labels):
        raise ValueError(f"expected as many labels as rows, at least one: got {len(labels)} and {len(probabilities)}")
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError("expected probabilities, rows that add up to 1: apply softmax to logits first")
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
