"""Class frequencies of an unlabelled target, estimated under label shift: p(x | y) the same, p(y) not."""

import numpy as np


def em_frequencies(
    probabilities: np.ndarray, source_frequencies: np.ndarray, *, iterations: int = 200, smallest: float = 1e-6
) -> np.ndarray:
    """Return the target's class frequencies by expectation maximisation (Saerens, Latinne and Decaestecker 2002).

    With source posteriors p_S(y | x), Bayes' rule gives p_T(y | x) ∝ p_S(y | x) π_T(y) / π_S(y). The E-step computes
    these for the present π_T, the M-step sets π_T to their mean; each round raises the likelihood of the target
    rows, Σ_i log Σ_y p_S(y | x_i) π_T(y) / π_S(y), which is concave in π_T. The posteriors must be calibrated.

    Args:
        probabilities: ``(n, classes)``, a source classifier's on target rows.
        source_frequencies: ``(classes,)`` of the rows it was trained on, all above 0.
        iterations: rounds.
        smallest: no frequency falls below it.

    Raises:
        ValueError: the shapes do not fit, or a source frequency is 0.
    """
    probabilities, source = np.asarray(probabilities, dtype=float), np.asarray(source_frequencies, dtype=float)
    if probabilities.ndim != 2 or source.shape != probabilities.shape[1:] or (source <= 0).any():
        raise ValueError(
            f"probabilities {probabilities.shape}, source frequencies {source.shape}: expected one positive "
            "frequency a column"
        )
    found = source / source.sum()
    ratios = probabilities / found
    for _ in range(iterations):
        posterior = ratios * found
        posterior /= posterior.sum(axis=1, keepdims=True)
        found = np.maximum(posterior.mean(axis=0), smallest)
        found /= found.sum()
    return found


def black_box_frequencies(
    source_predictions: np.ndarray, source_labels: np.ndarray, target_predictions: np.ndarray, *, classes: int
) -> np.ndarray:
    """Return the target's class frequencies from a classifier's confusion matrix (Lipton, Wang and Smola 2018).

    Under label shift p_T(ŷ = i) = Σ_j p_S(ŷ = i | y = j) π_T(j): a linear system with the column-normalised confusion
    matrix of held-out source rows, solved by least squares; negative solutions are cut to 0 and the rest made to add
    up to 1. It needs no probabilities, so no calibration.

    Args:
        source_predictions, source_labels: ``(n_S,)`` classes of source rows that the classifier was not trained on.
        target_predictions: ``(n_T,)``.
        classes: how many there are.

    Raises:
        ValueError: a class is missing among the source labels, or nothing positive is left.
    """
    counts = np.zeros((classes, classes))
    np.add.at(counts, (np.asarray(source_predictions), np.asarray(source_labels)), 1)
    if (counts.sum(axis=0) == 0).any():
        raise ValueError(
            f"source labels hold {np.count_nonzero(counts.sum(axis=0))} of {classes} classes: expected all"
        )
    confusion = counts / counts.sum(axis=0)
    seen = np.bincount(target_predictions, minlength=classes) / len(target_predictions)
    found = np.clip(np.linalg.lstsq(confusion, seen, rcond=None)[0], 0, None)
    if found.sum() == 0:
        raise ValueError("no class is left with a positive frequency: the confusion matrix cannot be inverted")
    return found / found.sum()
