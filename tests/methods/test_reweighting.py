import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize
from scipy.stats import norm

from workbook.methods.reweighting import (
    effective_sample_size,
    gaussian_kernel,
    kliep,
    kliep_coefficients,
    kmm,
    logistic_ratio,
    median_distance,
    ulsif,
    ulsif_coefficients,
    ulsif_leave_one_out,
)


def samples(seed, n_source=200, n_target=150, shift=0.8, scale=1.0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n_source, 1)), generator.normal(shift, scale, size=(n_target, 1))


def ratio(rows, shift=0.8, scale=1.0):
    return norm.pdf(rows[:, 0], shift, scale) / norm.pdf(rows[:, 0])


def test_effective_sample_size_between_one_and_all():
    assert effective_sample_size(np.full(7, 3.0)) == pytest.approx(7)
    assert effective_sample_size([0, 0, 5]) == pytest.approx(1)
    assert effective_sample_size([1, 3]) == pytest.approx(16 / 10)
    assert effective_sample_size([1e-200, 3e-200]) == pytest.approx(16 / 10)
    for wrong in ([0, 0], [1, -1, 3], [np.inf, 1], []):
        with pytest.raises(ValueError, match="weights"):
            effective_sample_size(wrong)


def test_effective_sample_size_of_a_gaussian_shift():
    weights = ratio(np.random.default_rng(0).normal(size=(400_000, 1)), shift=1.0)
    assert effective_sample_size(weights) / len(weights) == pytest.approx(np.exp(-1), rel=0.03)


@pytest.mark.parametrize("n_target", [2000, 8000])
def test_logistic_ratio_finds_the_analytic_one_whatever_the_sizes(n_target):
    source, target = samples(0, 4000, n_target)
    grid = np.linspace(-1.5, 2, 15)[:, None]
    assert logistic_ratio(source, target)(grid) == pytest.approx(ratio(grid), rel=0.12)


def test_logistic_ratio_needs_degree_two_for_two_variances():
    source, target = samples(0, 6000, 6000, scale=0.6)
    grid = np.linspace(-1, 2, 15)[:, None]
    assert logistic_ratio(source, target, degree=2)(grid) == pytest.approx(ratio(grid, scale=0.6), rel=0.25)
    assert np.abs(logistic_ratio(source, target)(grid) / ratio(grid, scale=0.6) - 1).max() > 0.5


def test_kernel_ratios_come_near_the_analytic_one():
    source, target = samples(1, 2000, 2000)
    grid = np.linspace(-0.5, 1.5, 9)[:, None]
    for method in (kliep, ulsif):
        assert method(source, target, seed=1)(grid) == pytest.approx(ratio(grid), rel=0.3)


def test_kliep_is_at_its_maximum_and_keeps_its_constraint():
    source, target = samples(2, 60, 40)
    bases = [gaussian_kernel(rows, target[:8], 0.7) for rows in (source, target)]
    alpha = kliep_coefficients(*bases, tolerance=1e-6)
    assert (bases[0] @ alpha).mean() == pytest.approx(1)
    assert alpha.min() >= 0
    found = minimize(
        lambda a: -np.log(bases[1] @ a).mean(),
        np.full(8, 1 / bases[0].mean(axis=0).sum()),
        jac=lambda a: -(bases[1] / (bases[1] @ a)[:, None]).mean(axis=0),
        method="SLSQP",
        bounds=[(0, None)] * 8,
        constraints=[{"type": "eq", "fun": lambda a: (bases[0] @ a).mean() - 1}],
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert np.log(bases[1] @ alpha).mean() == pytest.approx(-found.fun, abs=1e-5)


def test_ulsif_solves_its_normal_equations():
    source, target = samples(3, 50, 70)
    bases = [gaussian_kernel(rows, target[:5], 1.0) for rows in (source, target)]
    alpha = ulsif_coefficients(*bases, 0.3)
    slope = bases[0].T @ (bases[0] @ alpha) / 50 + 0.3 * alpha - bases[1].mean(axis=0)
    assert np.abs(slope[alpha > 0]).max() < 1e-10 or (alpha == 0).any()
    assert (alpha >= 0).all()


@pytest.mark.parametrize(("n_source", "n_target"), [(12, 9), (9, 12)])
def test_leave_one_out_is_what_fitting_again_gives(n_source, n_target):
    source, target = samples(4, n_source, n_target)
    bases = [gaussian_kernel(rows, target[:4], 0.9) for rows in (source, target)]
    again = []
    for i in range(min(n_source, n_target)):
        alpha = ulsif_coefficients(*(np.delete(basis, i, axis=0) for basis in bases), 0.2)
        again.append((bases[0][i] @ alpha) ** 2 / 2 - bases[1][i] @ alpha)
    assert ulsif_leave_one_out(*bases, 0.2) == pytest.approx(np.mean(again), abs=1e-12)


def test_kmm_is_at_its_minimum_within_its_constraints():
    source, target = samples(5, 25, 30)
    weights = kmm(source, target, width=1.0, bound=4.0, slack=0.1, tolerance=1e-7)
    assert weights.min() >= 0
    assert weights.max() <= 4 + 1e-9
    assert abs(weights.mean() - 1) <= 0.1 + 1e-9
    K = gaussian_kernel(source, source, 1.0)
    kappa = 25 * gaussian_kernel(source, target, 1.0).mean(axis=1)

    def objective(beta):
        return (beta @ K @ beta / 2 - kappa @ beta) / 25

    found = minimize(
        objective,
        np.ones(25),
        jac=lambda b: (K @ b - kappa) / 25,
        method="SLSQP",
        bounds=[(0, 4)] * 25,
        constraints=[LinearConstraint(np.ones(25), 22.5, 27.5)],
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert objective(weights) == pytest.approx(found.fun, abs=1e-5)


def test_kmm_does_as_well_as_the_library():
    from skada import KMMReweightAdapter

    source, target = samples(6, 60, 80)
    width = median_distance(np.concatenate([source, target]))
    ours = kmm(source, target)
    rows, domains = np.concatenate([source, target]), np.repeat([1, -2], [60, 80])
    library = KMMReweightAdapter(gamma=1 / (2 * width**2)).fit(rows, sample_domain=domains)
    theirs = library.compute_weights(rows, sample_domain=domains)[:60]
    K = gaussian_kernel(source, source, width)
    kappa = 60 * gaussian_kernel(source, target, width).mean(axis=1)
    assert (ours @ K @ ours / 2 - kappa @ ours) / 60 <= (theirs @ K @ theirs / 2 - kappa @ theirs) / 60 + 1e-4


def test_what_is_no_pair_of_samples_is_refused():
    good = np.zeros((10, 2)) + np.arange(10)[:, None]
    for method in (logistic_ratio, kliep, ulsif, kmm):
        with pytest.raises(ValueError, match="same d"):
            method(good, np.zeros((10, 3)))
        with pytest.raises(ValueError, match="at least"):
            method(good, good[:1])
        with pytest.raises(ValueError, match="finite"):
            method(good, good * np.nan)
    with pytest.raises(ValueError, match="coincide"):
        median_distance(np.zeros((10, 2)))
    with pytest.raises(ValueError, match="no kernel reaches"):
        kliep(good, good + 1e6, widths=[0.1])
    with pytest.raises(ValueError, match="bound"):
        kmm(good, good, bound=0.5, slack=0.1)
