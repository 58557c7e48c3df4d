"""Two more ways of bringing source and target features together: aligned subspaces, and rows carried by a plan."""

import numpy as np
import ot

from workbook.methods.alignment import AffineMap


def _principal(rows: np.ndarray, dimensions: int) -> np.ndarray:
    """The ``dimensions`` leading principal directions of the rows, as columns ``(d, dimensions)``."""
    return np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:dimensions].T


def subspace_alignment(source: np.ndarray, target: np.ndarray, dimensions: int) -> tuple[AffineMap, AffineMap]:
    """Return the maps of source rows and of target rows into the target's principal subspace (Fernando et al. 2013).

    With P_S and P_T the leading principal directions of either sample, source rows become (h − μ_S) P_S P_Sᵀ P_T and
    target rows (g − μ_T) P_T: the source's subspace is rotated towards the target's before coordinates are compared.

    Args:
        source: ``(n_S, d)`` features, no labels needed.
        target: ``(n_T, d)``, the rows to adapt to.
        dimensions: of both subspaces; no more than d, and fewer than the rows of either sample.

    Raises:
        ValueError: the widths differ, or there are not enough rows or columns for so many dimensions.
    """
    source, target = np.asarray(source, dtype=float), np.asarray(target, dtype=float)
    most = min(len(source) - 1, len(target) - 1, source.shape[1])
    if source.shape[1] != target.shape[1] or not 1 <= dimensions <= most:
        raise ValueError(
            f"dimensions={dimensions} for samples of shapes {source.shape} and {target.shape}: expected the same width "
            f"and at most {most} dimensions"
        )
    of_source, of_target = _principal(source, dimensions), _principal(target, dimensions)
    nowhere = np.zeros(dimensions)
    return (
        AffineMap(of_source @ (of_source.T @ of_target), source.mean(axis=0), nowhere),
        AffineMap(of_target, target.mean(axis=0), nowhere),
    )


def carried_rows(source: np.ndarray, target: np.ndarray, *, strength: float = 0.05) -> np.ndarray:
    """Return every source row at the mean of where an entropic transport plan sends it (Courty et al. 2017).

    The plan moves equal weights of source rows to equal weights of target rows at the least squared distance, less an
    entropy (Sinkhorn); row i becomes n_S Σ_j P_ij g_j, its barycentric map.

    Args:
        source: ``(n_S, d)``.
        target: ``(n_T, d)``, the rows to adapt to.
        strength: of the entropy, as a share of the median squared distance.

    Returns:
        ``(n_S, d)``, inside the convex hull of the target rows.

    Raises:
        ValueError: the strength is not positive, or the widths differ.
    """
    source, target = np.asarray(source, dtype=float), np.asarray(target, dtype=float)
    if strength <= 0 or source.shape[1] != target.shape[1]:
        raise ValueError(
            f"strength={strength}, widths {source.shape[1]} and {target.shape[1]}: expected a strength above 0 and "
            "the same width"
        )
    cost = ot.dist(source, target)
    plan = ot.sinkhorn(
        ot.unif(len(source)), ot.unif(len(target)), cost, strength * np.median(cost), numItermax=5000, stopThr=1e-6
    )
    return plan @ target / plan.sum(axis=1, keepdims=True)
