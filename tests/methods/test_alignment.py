import numpy as np
import ot
import pytest
from scipy.linalg import sqrtm
from scipy.stats import norm

from workbook.methods.alignment import (
    align,
    coral_map,
    gaussian_kernel,
    gaussian_ot_map,
    kernel_widths,
    median_width,
    mmd2_biased,
    mmd2_unbiased,
    shrunk_covariance,
    squared_distances,
    transport_cost,
)


def covariance(seed, d=6):
    rows = np.random.default_rng(seed).normal(size=(3 * d, d))
    return rows.T @ rows / len(rows)


def features(seed, n=80, d=6, shift=0.0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, d)) @ generator.normal(size=(d, d)) + shift


@pytest.mark.parametrize("matrix", [coral_map, gaussian_ot_map])
def test_both_maps_give_the_targets_covariance(matrix):
    source, target = covariance(0), covariance(1)
    found = matrix(source, target)
    np.testing.assert_allclose(found.T @ source @ found, target, atol=1e-10)


def test_coral_whitens_then_colours():
    source, target = covariance(2), covariance(3)
    expected = np.linalg.inv(sqrtm(source)) @ sqrtm(target)
    np.testing.assert_allclose(coral_map(source, target), expected, atol=1e-10)


def test_gaussian_map_is_pots_and_costs_the_bures_distance():
    source, target = covariance(4), covariance(5)
    found = gaussian_ot_map(source, target)
    pots, _ = ot.gaussian.bures_wasserstein_mapping(np.zeros(6), np.zeros(6), source, target)
    np.testing.assert_allclose(found, pots, atol=1e-8)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    root = sqrtm(source)
    bures = np.trace(source + target - 2 * sqrtm(root @ target @ root).real)
    assert transport_cost(source, found) == pytest.approx(bures)


def test_the_gaussian_map_costs_no_more_than_coral_or_a_rotation_of_it():
    for seed in range(10):
        source, target = covariance(seed), covariance(seed + 50)
        rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))
        root = sqrtm(target).real
        rotated = np.linalg.inv(sqrtm(source).real) @ rotation @ root
        np.testing.assert_allclose(rotated.T @ source @ rotated, target, atol=1e-9)
        least = transport_cost(source, gaussian_ot_map(source, target))
        assert least <= transport_cost(source, coral_map(source, target)) + 1e-12
        assert least <= transport_cost(source, rotated) + 1e-12


def test_commuting_covariances_make_the_two_maps_one():
    source, target = np.diag([1.0, 2.0, 3.0]), np.diag([4.0, 1.0, 9.0])
    expected = np.diag(np.sqrt([4.0, 0.5, 3.0]))
    np.testing.assert_allclose(coral_map(source, target), expected, atol=1e-12)
    np.testing.assert_allclose(gaussian_ot_map(source, target), expected, atol=1e-12)


@pytest.mark.parametrize("matrix", [coral_map, gaussian_ot_map])
def test_align_moves_mean_and_covariance(matrix):
    source, target = features(0), features(1, n=120, shift=5.0)
    moved = align(source, target, matrix=matrix, shrinkage=0.0)(source)
    np.testing.assert_allclose(moved.mean(axis=0), target.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(np.cov(moved.T, bias=True), np.cov(target.T, bias=True), atol=1e-9)


def test_align_to_itself_moves_nothing():
    rows = features(3)
    np.testing.assert_allclose(align(rows, rows)(rows), rows, atol=1e-10)


def test_shrinkage_keeps_the_trace_and_ends_at_a_sphere():
    rows = features(4, n=4, d=6)
    plain, half, full = (shrunk_covariance(rows, s) for s in (0.0, 0.5, 1.0))
    np.testing.assert_allclose([np.trace(half), np.trace(full)], np.trace(plain))
    np.testing.assert_allclose(full, np.trace(plain) / 6 * np.eye(6), atol=1e-12)
    assert np.linalg.matrix_rank(plain) == 3
    assert np.linalg.eigvalsh(shrunk_covariance(rows))[0] > 0


def test_a_singular_covariance_is_refused_with_the_remedy():
    rows = features(4, n=4, d=6)
    with pytest.raises(ValueError, match="shrink the covariance first"):
        align(rows, features(5), shrinkage=0.0)


def slow_mmd2(x, y, widths, unbiased):
    def k(a, b):
        return np.mean([np.exp(-np.sum((a - b) ** 2) / (2 * s**2)) for s in widths])

    def mean_within(rows):
        pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j or not unbiased]
        return np.mean([k(rows[i], rows[j]) for i, j in pairs])

    return mean_within(x) + mean_within(y) - 2 * np.mean([[k(a, b) for b in y] for a in x])


def test_mmd_is_its_sums_written_out():
    x, y, widths = features(6, n=7, d=3), features(7, n=5, d=3), (0.7, 2.0)
    assert mmd2_unbiased(x, y, widths) == pytest.approx(slow_mmd2(x, y, widths, True))
    assert mmd2_biased(x, y, widths) == pytest.approx(slow_mmd2(x, y, widths, False))


def test_equal_samples():
    rows = features(8)
    assert mmd2_biased(rows, rows, (1.0,)) == pytest.approx(0, abs=1e-12)
    assert mmd2_unbiased(rows, rows, (1.0,)) < 0


def test_mmd_of_a_gaussian_shift_has_its_closed_form():
    """For N(0, I) against N(m, I), with kernel width s: 2 (s²/(s²+2))^{d/2} (1 − exp(−‖m‖²/(2(s²+2))))."""
    d, s, shift = 4, 2.0, 1.5
    exact = 2 * (s**2 / (s**2 + 2)) ** (d / 2) * (1 - np.exp(-(shift**2) / (2 * (s**2 + 2))))
    found = []
    for seed in range(10):
        x, y = np.random.default_rng(seed).normal(size=(2, 400, d))
        y[:, 0] += shift
        found.append(mmd2_unbiased(x, y, (s,)))
    assert np.mean(found) == pytest.approx(exact, abs=4 * np.std(found, ddof=1) / np.sqrt(10))
    assert np.mean(found) == pytest.approx(exact, rel=0.1)


def test_null_means():
    """No bias without the diagonal; (1/n + 1/m)(1 − E k) with it, E k = (s²/(s²+2))^{d/2}."""
    n, m, d, s = 12, 20, 3, 1.5
    pairs = [(g.normal(size=(n, d)), g.normal(size=(m, d))) for g in map(np.random.default_rng, range(600))]
    unbiased = np.array([mmd2_unbiased(x, y, (s,)) for x, y in pairs])
    biased = np.array([mmd2_biased(x, y, (s,)) for x, y in pairs])
    allowed = norm.isf(1e-4) * unbiased.std() / np.sqrt(len(pairs))
    assert abs(unbiased.mean()) < allowed
    assert abs(biased.mean() - (1 / n + 1 / m) * (1 - (s**2 / (s**2 + 2)) ** (d / 2))) < allowed
    assert biased.min() >= 0


def test_kernel_and_widths():
    x, y = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(squared_distances(x, y), [[0, 25, 0], [25, 0, 25]])
    np.testing.assert_allclose(gaussian_kernel(x, y, (5.0,))[0], [1, np.exp(-0.5), 1])
    assert median_width(x, y) == 5.0
    assert kernel_widths(x, y) == (2.5, 5.0, 10.0)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: mmd2_biased(np.zeros((5, 2)), np.zeros((5, 3)), (1.0,)), "same d"),
        (lambda: mmd2_unbiased(np.zeros((1, 2)), np.zeros((5, 2)), (1.0,)), "at least 2"),
        (lambda: mmd2_biased(np.full((5, 2), np.inf), np.zeros((5, 2)), (1.0,)), "finite"),
        (lambda: gaussian_kernel(np.zeros((5, 2)), np.zeros((5, 2)), ()), "at least one"),
        (lambda: median_width(np.zeros((5, 2)), np.zeros((5, 2))), "rows are equal"),
        (lambda: coral_map(np.eye(2), np.eye(3)), "expected the same"),
        (lambda: coral_map(np.ones((2, 3)), np.eye(3)), "square"),
        (lambda: gaussian_ot_map(np.array([[1.0, 2.0], [0.0, 1.0]]), np.eye(2)), "symmetric"),
        (lambda: shrunk_covariance(np.eye(3), 1.5), "from 0 to 1"),
    ],
)
def test_unfit_input_is_refused(work, message):
    with pytest.raises(ValueError, match=message):
        work()
