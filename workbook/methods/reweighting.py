"""Importance weights without densities: four estimates of the ratio p_T(x)/p_S(x), and what a weighted sample is worth.

Every function sees inputs only, never a label. Three of the four return a function of x that can be asked about any
row, which weighting a *held-out* loss needs; kernel mean matching gives weights to the rows that it was given, no more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist, pdist
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

Ratio = Callable[[np.ndarray], np.ndarray]
"""Maps rows ``(n, d)`` to estimates ``(n,)`` of p_T(x)/p_S(x), none below 0."""

RELATIVE_WIDTHS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
"""Candidate kernel widths, as multiples of the median distance between rows."""

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Candidate regularisers: λ of `ulsif`, C of `logistic_ratio`."""

_TINY = 1e-300


def check_weights(weights: np.ndarray) -> None:
    """Raise `ValueError` where a weight is negative or not finite, or all are 0."""
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise ValueError("expected finite weights of at least 0, not all of them 0")


def effective_sample_size(weights: np.ndarray) -> float:
    """Return Kish's effective sample size (Σw)²/Σw²: between 1 and n, and n only if all weights are equal (Kish 1965).

    Raises:
        ValueError: a weight is negative or not finite, or all are 0.
    """
    weights = np.asarray(weights, dtype=float)
    check_weights(weights)
    weights = weights / weights.max()  # squares of very small weights would be 0
    return float(weights.sum() ** 2 / (weights**2).sum())


def gaussian_kernel(rows: np.ndarray, centres: np.ndarray, width: float) -> np.ndarray:
    """Return exp(−‖x − c‖²/(2 width²)) of every row ``(n, d)`` with every centre ``(m, d)``: ``(n, m)``."""
    return np.exp(cdist(rows, centres, "sqeuclidean") / (-2 * width**2))


def median_distance(rows: np.ndarray, *, most: int = 500) -> float:
    """Return the median distance between two different rows, of ``most`` rows evenly spaced in the order given.

    Raises:
        ValueError: there are fewer than two rows, or more than half of the distances are 0.
    """
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} rows: a distance needs at least two")
    picked = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
    middle = float(np.median(pdist(picked)))
    if middle == 0:
        raise ValueError("more than half of the rows coincide: the median distance is 0, give the widths yourself")
    return middle


@dataclass(frozen=True)
class KernelRatio:
    """The estimate Σ_l α_l k(x, c_l) of a density ratio, with Gaussian kernels k; call it with rows.

    Attributes:
        centres: ``(m, d)``, target rows.
        width: of the kernel.
        coefficients: α ``(m,)``, none negative.
    """

    centres: np.ndarray
    width: float
    coefficients: np.ndarray

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the estimated ratio ``(n,)`` of rows ``(n, d)``."""
        return gaussian_kernel(np.asarray(rows, dtype=float), self.centres, self.width) @ self.coefficients


def logistic_ratio(
    source: np.ndarray,
    target: np.ndarray,
    *,
    degree: int = 1,
    strengths: Sequence[float] = STRENGTHS,
    folds: int = 5,
    seed: int = 0,
) -> Ratio:
    """Estimate the ratio from a classifier of the domain (Bickel, Brückner and Scheffer 2007).

    With g(x) the log odds of 'target' among the n_S + n_T rows, Bayes' rule gives p_T(x)/p_S(x) = (n_S/n_T) e^{g(x)}.
    Here g is linear in the standardised columns, or a polynomial of them; C is chosen by the cross-validated log loss
    of the *domain*, on standardised columns.

    Args:
        source: ``(n_S, d)``.
        target: ``(n_T, d)``.
        degree: of the polynomial; two Gaussians of different variances have a g of degree 2.
        strengths: candidates for scikit-learn's C (large: hardly regularised).
        folds: of the cross-validation.
        seed: of the folds.

    Raises:
        ValueError: the shapes do not fit, a value is not finite, or there are fewer rows of a domain than folds.
    """
    source, target = _checked(source, target, folds)
    rows, domain = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])

    def classifier(C):
        expand = PolynomialFeatures(degree, include_bias=False)
        return make_pipeline(StandardScaler(), expand, StandardScaler(), LogisticRegression(C=C, max_iter=1000))

    def held_out_loss(C):
        losses = []
        for train, held in StratifiedKFold(folds, shuffle=True, random_state=seed).split(rows, domain):
            probabilities = classifier(C).fit(rows[train], domain[train]).predict_proba(rows[held])
            losses.append(log_loss(domain[held], probabilities, labels=[0, 1]))
        return np.mean(losses)

    best = min(strengths, key=held_out_loss) if len(strengths) > 1 else strengths[0]
    model = classifier(best).fit(rows, domain)
    prior = len(source) / len(target)
    return lambda new: prior * np.exp(model.decision_function(np.asarray(new, dtype=float)))


def kliep(
    source: np.ndarray,
    target: np.ndarray,
    *,
    widths: Sequence[float] | None = None,
    centres: int = 100,
    folds: int = 5,
    seed: int = 0,
    tolerance: float = 1e-4,
) -> KernelRatio:
    """Estimate the ratio by the Kullback–Leibler importance estimation procedure (Sugiyama et al. 2008).

    w(x) = Σ_l α_l k(x, c_l) maximises the mean of log w over the target under mean_S w = 1 and α ≥ 0. In
    β_l = α_l mean_S k(·, c_l) this is the likelihood of a mixture with known components and unknown shares, which the
    EM algorithm solves without a step size. The width has the largest log w on held-out target rows.

    Args:
        source: ``(n_S, d)``.
        target: ``(n_T, d)``.
        widths: candidates; multiples of the median distance unless told otherwise.
        centres: how many target rows, drawn at random, carry a kernel; all when there are fewer.
        folds: of the target, for choosing the width.
        seed: of centres and folds.
        tolerance: the fit stops when the objective is at most this far from its maximum (see `kliep_coefficients`).

    Raises:
        ValueError: as `logistic_ratio`, or at no candidate width a kernel reaches both samples.
    """
    source, target = _checked(source, target, folds)
    widths = _candidates(source, target) if widths is None else widths
    target = np.random.default_rng(seed).permutation(target)

    def fitted(width, rows, tolerance):
        picked = rows[:centres]
        bases = (gaussian_kernel(sample, picked, width) for sample in (source, rows))
        return KernelRatio(picked, float(width), kliep_coefficients(*bases, tolerance=tolerance))

    def held_out(width):
        folded = KFold(folds).split(target)
        return np.mean([np.log(fitted(width, target[a], 10 * tolerance)(target[b]) + _TINY).mean() for a, b in folded])

    best = max(widths, key=held_out) if len(widths) > 1 else widths[0]
    return fitted(best, target, tolerance)


def kliep_coefficients(
    at_source: np.ndarray, at_target: np.ndarray, *, tolerance: float = 1e-4, most: int = 20_000
) -> np.ndarray:
    """Return KLIEP's α ``(m,)`` for basis functions with values ``(n_S, m)`` and ``(n_T, m)``, none negative.

    One step of EM multiplies the share β_l by g_l, the mean over target rows of (basis_l(x)/b_l)/w(x), with
    b_l = mean_S basis_l. The objective is concave, so it is at most max_l g_l − 1 below its maximum: that is the
    stopping rule. Basis functions that are 0 on the whole source get α = 0: the constraint cannot hold them.

    Raises:
        ValueError: no basis function reaches both samples.
    """
    means = at_source.mean(axis=0)
    reaches = means > 1e-12 * max(means.max(), _TINY)
    basis = at_target[:, reaches] / means[reaches]
    if not basis.size or not (basis.max(axis=0) > 0).any():
        raise ValueError(
            "no kernel reaches both source and target rows: the width is too small, or the supports differ"
        )
    shares = np.full(basis.shape[1], 1 / basis.shape[1])
    for _ in range(most):
        gains = (basis / np.maximum(basis @ shares, _TINY)[:, None]).mean(axis=0)
        if gains.max() - 1 <= tolerance:
            break
        shares *= gains
    alpha = np.zeros(len(means))
    alpha[reaches] = shares / means[reaches]
    return alpha


def ulsif(
    source: np.ndarray,
    target: np.ndarray,
    *,
    widths: Sequence[float] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    centres: int = 100,
    seed: int = 0,
) -> KernelRatio:
    """Estimate the ratio by unconstrained least-squares importance fitting (Kanamori, Hido and Sugiyama 2009).

    w(x) = Σ_l α_l k(x, c_l) minimises ½ mean_S w² − mean_T w + ½ λ‖α‖², which is ½ E_S[(w − p_T/p_S)²] on the
    samples, up to a constant, and the penalty: α = (H + λI)^{-1} h, negative entries set to 0. Width and λ have the
    least leave-one-out value of ½ mean_S w² − mean_T w (`ulsif_leave_one_out`).

    Args:
        source: ``(n_S, d)``.
        target: ``(n_T, d)``.
        widths: candidates; multiples of the median distance unless told otherwise.
        strengths: candidates for λ.
        centres: how many target rows, drawn at random, carry a kernel.
        seed: of the centres, and of which target row is left out with which source row.

    Raises:
        ValueError: the shapes do not fit, a value is not finite, or a domain has fewer than two rows.
    """
    source, target = _checked(source, target, 2)
    widths = _candidates(source, target) if widths is None else widths
    generator = np.random.default_rng(seed)
    source, target = generator.permutation(source), generator.permutation(target)
    picked = target[:centres]
    pairs = [(width, strength) for width in widths for strength in strengths]
    if len(pairs) > 1:
        bases = {width: [gaussian_kernel(rows, picked, width) for rows in (source, target)] for width in widths}
        pairs = [min(pairs, key=lambda pair: ulsif_leave_one_out(*bases[pair[0]], pair[1]))]
    width, strength = pairs[0]
    basis = [gaussian_kernel(rows, picked, width) for rows in (source, target)]
    return KernelRatio(picked, float(width), ulsif_coefficients(*basis, strength))


def ulsif_coefficients(at_source: np.ndarray, at_target: np.ndarray, strength: float) -> np.ndarray:
    """Return uLSIF's α = max(0, (H + λI)^{-1} h), H = mean_S φφᵀ and h = mean_T φ, for basis values ``(n, m)``."""
    H = at_source.T @ at_source / len(at_source)
    return np.maximum(0, np.linalg.solve(H + strength * np.eye(len(H)), at_target.mean(axis=0)))


def ulsif_leave_one_out(at_source: np.ndarray, at_target: np.ndarray, strength: float) -> float:
    """Return the leave-one-out value of ½ mean_S w² − mean_T w, without fitting again.

    Source row i and target row i are left out together, i < min(n_S, n_T). Leaving a source row out changes H by a
    matrix of rank one, so the Sherman–Morrison formula gives every inverse from one (Kanamori et al. 2009).
    """
    n_S, n_T = len(at_source), len(at_target)
    n = min(n_S, n_T)
    phi, psi = at_source[:n].T, at_target[:n].T
    B = at_source.T @ at_source / (n_S - 1) + strength * np.eye(at_source.shape[1])
    left = (at_target.sum(axis=0)[:, None] - psi) / (n_T - 1)  # the target's mean without row i
    solved = np.linalg.solve(B, np.hstack([phi, left]))
    of_phi, of_left = solved[:, :n], solved[:, n:]
    scale = (phi * of_left).sum(axis=0) / (n_S - 1 - (phi * of_phi).sum(axis=0))
    alphas = np.maximum(0, of_left + of_phi * scale)
    return float(((phi * alphas).sum(axis=0) ** 2 / 2 - (psi * alphas).sum(axis=0)).mean())


def kmm(
    source: np.ndarray,
    target: np.ndarray,
    *,
    width: float | None = None,
    bound: float = 1000.0,
    slack: float | None = None,
    tolerance: float = 1e-4,
    most: int = 20_000,
) -> np.ndarray:
    """Return weights ``(n_S,)`` of the source rows by kernel mean matching (Huang et al. 2007).

    The weighted source mean and the target mean are brought together in the kernel's feature space: β minimises
    ½ βᵀKβ − κᵀβ, with K the kernel among source rows and κ_i = (n_S/n_T) Σ_j k(x_i, x_j^T), under 0 ≤ β ≤ bound and
    |mean(β) − 1| ≤ slack. Solved by accelerated projected gradient steps (Beck and Teboulle 2009) until the
    objective per row is provably within ``tolerance`` of its minimum (the Frank–Wolfe gap).

    Nothing is held out, so nothing chooses the width: the median distance is a rule of thumb. Near its minimum the
    objective is almost flat: other weights, rougher or smoother, are as good. A small ``bound`` or a loose
    ``tolerance`` keeps them smooth.

    Args:
        source: ``(n_S, d)``.
        target: ``(n_T, d)``.
        width: of the Gaussian kernel; the median distance unless told otherwise.
        bound: largest weight.
        slack: how far the mean weight may be from 1; (√n_S − 1)/√n_S unless told otherwise.
        tolerance: see above.
        most: gradient steps.

    Raises:
        ValueError: the shapes do not fit, a value is not finite, or ``bound`` is too small for a mean of 1 − slack.
    """
    source, target = _checked(source, target, 2)
    n = len(source)
    width = median_distance(np.concatenate([source, target])) if width is None else width
    slack = (np.sqrt(n) - 1) / np.sqrt(n) if slack is None else slack
    if bound < 1 - slack:
        raise ValueError(f"bound={bound}: weights of at most that have no mean of {1 - slack:.3g}")
    K = gaussian_kernel(source, source, width)
    kappa = n * gaussian_kernel(source, target, width).mean(axis=1)
    least, largest = n * (1 - slack), n * (1 + slack)
    step = 1 / np.linalg.eigvalsh(K)[-1]
    weights = ahead = _project(np.ones(n), bound, least, largest)
    momentum = 1.0
    for count in range(most):
        new = _project(ahead - step * (K @ ahead - kappa), bound, least, largest)
        if (ahead - new) @ (new - weights) > 0:  # the momentum points uphill: start it again
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / following * (new - weights)
        weights, momentum = new, following
        if count % 50 == 49:
            slope = K @ weights - kappa
            if slope @ weights - _least_value(slope, bound, least, largest) <= tolerance * n:
                break
    return weights


def _project(values: np.ndarray, bound: float, least: float, largest: float) -> np.ndarray:
    """Return the nearest point with entries in [0, bound] and a sum in [least, largest]."""
    clipped = np.clip(values, 0, bound)
    total = clipped.sum()
    if least <= total <= largest:
        return clipped
    wanted = least if total < least else largest
    low, high = values.min() - bound, values.max()  # subtracting these gives all bounds, and all zeros
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(values - middle, 0, bound).sum() > wanted else (low, middle)
    return np.clip(values - (low + high) / 2, 0, bound)


def _least_value(slope: np.ndarray, bound: float, least: float, largest: float) -> float:
    """Return the minimum of slope·s over 0 ≤ s ≤ bound with a sum in [least, largest]: fill the cheapest first."""
    total = value = 0.0
    for cost in np.sort(slope):
        room = min(bound, (largest if cost < 0 else least) - total)
        if room <= 0:
            break
        value, total = value + cost * room, total + room
    return value


def _candidates(source: np.ndarray, target: np.ndarray) -> list[float]:
    middle = median_distance(np.concatenate([source, target]))
    return [relative * middle for relative in RELATIVE_WIDTHS]


def _checked(source: np.ndarray, target: np.ndarray, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    source, target = np.asarray(source, dtype=float), np.asarray(target, dtype=float)
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
        raise ValueError(f"expected (n, d) arrays with the same d, got {source.shape} and {target.shape}")
    if min(len(source), len(target)) < fewest:
        raise ValueError(f"{len(source)} source and {len(target)} target rows: expected at least {fewest} of each")
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise ValueError("expected finite inputs, got some that are not")
    return source, target
