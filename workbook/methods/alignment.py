"""Aligning features without target labels: linear maps between covariances, and the maximum mean discrepancy.

Rows are examples, so a linear map acts from the right: row ``h`` becomes ``h @ A``, and covariance C becomes AᵀCA.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.covariance import ledoit_wolf

WIDTH_FACTORS = (0.5, 1.0, 2.0)
"""Widths of the multi-kernel, as multiples of the median distance."""


def _power(covariance: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * values**exponent) @ vectors.T


def _check_covariance(covariance: np.ndarray, name: str) -> np.ndarray:
    covariance = np.asarray(covariance, dtype=float)
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
        raise ValueError(f"{name}: expected a square matrix, got shape {covariance.shape}")
    if not np.allclose(covariance, covariance.T, atol=1e-10 * np.abs(covariance).max()):
        raise ValueError(f"{name}: expected a symmetric matrix")
    values = np.linalg.eigvalsh(covariance)
    if values[0] <= 1e-12 * values[-1]:
        raise ValueError(
            f"{name}: smallest eigenvalue {values[0]:.1e} of largest {values[-1]:.1e}, expected clearly positive ones; "
            "shrink the covariance first (see shrunk_covariance)"
        )
    return covariance


def _check_rows(*samples: np.ndarray) -> list[np.ndarray]:
    arrays = [np.asarray(rows, dtype=float) for rows in samples]
    if any(rows.ndim != 2 or rows.shape[1] != arrays[0].shape[1] for rows in arrays):
        raise ValueError(f"expected (n, d) arrays with the same d, got {' and '.join(str(r.shape) for r in arrays)}")
    if min(map(len, arrays)) < 2:
        raise ValueError(f"{' and '.join(str(len(rows)) for rows in arrays)} rows: expected at least 2 a sample")
    if not all(np.isfinite(rows).all() for rows in arrays):
        raise ValueError("expected finite features, got some that are not")
    return arrays


def shrunk_covariance(rows: np.ndarray, shrinkage: float | None = None) -> np.ndarray:
    """Return ``(1 − s) C + s tr(C)/d · I``, C the covariance of the rows (divided by n).

    Args:
        rows: ``(n, d)``.
        shrinkage: s, from 0 to 1; that of Ledoit and Wolf (2004), computed from the rows, unless told otherwise.

    Raises:
        ValueError: s is outside [0, 1], or the rows are not at least two of finite numbers.
    """
    (rows,) = _check_rows(rows)
    if shrinkage is None:
        return ledoit_wolf(rows)[0]
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage={shrinkage}: expected from 0 to 1")
    covariance = np.cov(rows.T, bias=True).reshape(rows.shape[1], -1)
    return (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / len(covariance) * np.eye(len(covariance))


def coral_map(source_covariance: np.ndarray, target_covariance: np.ndarray) -> np.ndarray:
    """Return ``A = C_S^{-1/2} C_T^{1/2}``, so that ``Aᵀ C_S A = C_T`` (CORAL; Sun, Feng and Saenko 2016).

    Rows are whitened with the source's covariance and coloured with the target's: ``h @ A``.

    Args:
        source_covariance, target_covariance: ``(d, d)``, symmetric and positive definite.

    Raises:
        ValueError: a matrix is not square, symmetric and positive definite, or the two differ in size.
    """
    source, target = _check_pair(source_covariance, target_covariance)
    return _power(source, -0.5) @ _power(target, 0.5)


def gaussian_ot_map(source_covariance: np.ndarray, target_covariance: np.ndarray) -> np.ndarray:
    """Return ``A = C_S^{-1/2} (C_S^{1/2} C_T C_S^{1/2})^{1/2} C_S^{-1/2}``, the map of least transport cost.

    Among all linear maps with ``Aᵀ C_S A = C_T`` it moves rows least (`transport_cost`); it is the only symmetric
    positive definite one. Between Gaussian distributions it is the optimal transport map for the squared distance
    (Olkin and Pukelsheim 1982; Peyré and Cuturi 2019, section 2.6).

    Args and errors: as for `coral_map`.
    """
    source, target = _check_pair(source_covariance, target_covariance)
    root, inverse = _power(source, 0.5), _power(source, -0.5)
    inner = root @ target @ root
    return inverse @ _power((inner + inner.T) / 2, 0.5) @ inverse


def _check_pair(source_covariance, target_covariance) -> tuple[np.ndarray, np.ndarray]:
    source = _check_covariance(source_covariance, "source covariance")
    target = _check_covariance(target_covariance, "target covariance")
    if source.shape != target.shape:
        raise ValueError(f"covariances of shapes {source.shape} and {target.shape}: expected the same")
    return source, target


def transport_cost(source_covariance: np.ndarray, matrix: np.ndarray) -> float:
    """Return ``E‖h − hA‖² = tr((I − A)ᵀ C_S (I − A))`` for centred rows h of covariance C_S."""
    moved = np.eye(len(matrix)) - matrix
    return float(np.trace(moved.T @ source_covariance @ moved))


@dataclass(frozen=True)
class AffineMap:
    """The map ``h ↦ (h − from_mean) @ matrix + to_mean`` of rows ``(n, d)``.

    Attributes:
        matrix: ``(d, d)``.
        from_mean, to_mean: ``(d,)``.
    """

    matrix: np.ndarray
    from_mean: np.ndarray
    to_mean: np.ndarray

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Move rows ``(n, d)``."""
        return (rows - self.from_mean) @ self.matrix + self.to_mean


def align(
    source: np.ndarray,
    target: np.ndarray,
    *,
    matrix: Callable[[np.ndarray, np.ndarray], np.ndarray] = coral_map,
    shrinkage: float | None = None,
) -> AffineMap:
    """Return the affine map that gives source rows the target's mean and (shrunk) covariance.

    Args:
        source: ``(n_S, d)`` features, no labels needed.
        target: ``(n_T, d)``, the rows to adapt to.
        matrix: `coral_map` or `gaussian_ot_map`.
        shrinkage: of both covariances, see `shrunk_covariance`.

    Raises:
        ValueError: the shapes do not fit, a value is not finite, or a covariance that was not shrunk is singular.
    """
    source, target = _check_rows(source, target)
    covariances = (shrunk_covariance(rows, shrinkage) for rows in (source, target))
    return AffineMap(matrix(*covariances), source.mean(axis=0), target.mean(axis=0))


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return all ``‖x_i − y_j‖²``, shape ``(n, m)``, of rows ``(n, d)`` and ``(m, d)``."""
    squares = np.square(first).sum(1)[:, None] + np.square(second).sum(1) - 2 * first @ second.T
    return np.maximum(squares, 0)


def median_width(first: np.ndarray, second: np.ndarray) -> float:
    """Return the median distance between different rows of both samples together (the 'median heuristic').

    Args:
        first, second: ``(n, d)`` and ``(m, d)``.

    Raises:
        ValueError: the shapes do not fit, or more than half of the distances are 0.
    """
    rows = np.concatenate(_check_rows(first, second))
    above = np.triu_indices(len(rows), k=1)
    width = float(np.sqrt(np.median(squared_distances(rows, rows)[above])))
    if width <= 0:
        raise ValueError("more than half of the rows are equal: the median distance is 0 and no width of a kernel")
    return width


def kernel_widths(first: np.ndarray, second: np.ndarray, factors: Sequence[float] = WIDTH_FACTORS) -> tuple[float, ...]:
    """Return the median distance times each factor: widths for a multi-kernel (errors as in `median_width`)."""
    width = median_width(first, second)
    return tuple(factor * width for factor in factors)


def gaussian_kernel(first: np.ndarray, second: np.ndarray, widths: Sequence[float]) -> np.ndarray:
    """Return the mean over widths s of ``exp(−‖x_i − y_j‖² / (2 s²))``, shape ``(n, m)``; 1 where two rows are equal.

    A mean of kernels is a kernel; several widths see differences of several sizes (Gretton et al. 2012; Long et al.
    2015).

    Args:
        first, second: ``(n, d)`` and ``(m, d)``.
        widths: positive.
    """
    if not len(widths) or min(widths) <= 0:
        raise ValueError(f"widths {tuple(widths)}: expected at least one, all positive")
    squares = squared_distances(first, second)
    return sum(np.exp(-squares / (2 * width**2)) for width in widths) / len(widths)


def mmd2_biased(source: np.ndarray, target: np.ndarray, widths: Sequence[float]) -> float:
    """Return the squared MMD between the two samples themselves, never negative (the V-statistic).

    The means over *all* pairs, rows with themselves included: ``mean k(x, x') + mean k(y, y') − 2 mean k(x, y)``. As
    an estimate for the two distributions it is too high by ``(1 − E k(x, x'))/n + (1 − E k(y, y'))/m``.

    Args:
        source, target: ``(n, d)`` and ``(m, d)``.
        widths: of `gaussian_kernel`; choose them on other grounds than this value (`kernel_widths`).

    Raises:
        ValueError: the shapes do not fit, or a value is not finite.
    """
    source, target = _check_rows(source, target)
    within = sum(gaussian_kernel(rows, rows, widths).mean() for rows in (source, target))
    return float(within - 2 * gaussian_kernel(source, target, widths).mean())


def mmd2_unbiased(source: np.ndarray, target: np.ndarray, widths: Sequence[float]) -> float:
    """Return the unbiased estimate of the squared MMD (Gretton et al. 2012, lemma 6); it may be negative.

    ``Σ_{i≠j} k(x_i, x_j)/(n(n−1)) + Σ_{i≠j} k(y_i, y_j)/(m(m−1)) − 2 mean k(x, y)``: the two sums within a sample
    leave out each row's pair with itself, the sum across samples has no such pair.

    Args and errors: as for `mmd2_biased`.
    """
    source, target = _check_rows(source, target)
    within = sum(
        (gaussian_kernel(rows, rows, widths).sum() - len(rows)) / (len(rows) * (len(rows) - 1))
        for rows in (source, target)
    )
    return float(within - 2 * gaussian_kernel(source, target, widths).mean())
