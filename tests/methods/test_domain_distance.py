import numpy as np
import pytest
from scipy.stats import norm

from workbook.methods.domain_distance import proxy_a_distance
from workbook.statistics import mean_interval


def draw(seed, n_source, n_target, d, shift=0.0):
    generator = np.random.default_rng(seed)
    target = generator.normal(size=(n_target, d))
    target[:, 0] += shift
    return generator.normal(size=(n_source, d)), target


def test_identical_distributions_average_to_zero():
    """The bug that this function avoids gives .34 here (50 rows, 20 features)."""
    values = [proxy_a_distance(*draw(seed, 50, 50, 20), seed=seed) for seed in range(150)]
    _, low, high = mean_interval(values)
    assert low < 0.03
    assert high > -0.03
    assert high - low < 0.12
    assert 0.2 < np.mean(np.array(values) < 0) < 0.8


def test_unequal_sizes_do_not_look_like_a_shift():
    values = [proxy_a_distance(*draw(seed, 30, 300, 5), seed=seed) for seed in range(40)]
    assert abs(np.mean(values)) < 0.12


def test_a_gaussian_shift_gives_its_closed_form():
    for shift in (1.0, 2.0):
        found = proxy_a_distance(*draw(1, 5000, 5000, 5, shift), seed=0)
        assert found == pytest.approx(2 * (2 * norm.cdf(shift / 2) - 1), abs=0.08)


def test_far_apart_is_two_and_units_do_not_matter():
    source, target = draw(0, 60, 60, 4, shift=30.0)
    assert proxy_a_distance(source, target, seed=0) == 2.0
    near = draw(0, 60, 60, 4, shift=1.0)
    scale = np.array([1e-3, 1.0, 1e3, 7.0])
    assert proxy_a_distance(near[0] * scale, near[1] * scale, seed=3) == proxy_a_distance(*near, seed=3)


def test_same_seed_same_value():
    pair = draw(0, 40, 40, 3, shift=0.5)
    assert proxy_a_distance(*pair, seed=5) == proxy_a_distance(*pair, seed=5)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (np.zeros((20, 3)), np.zeros((20, 4)), "same d"),
        (np.zeros(20), np.zeros(20), "same d"),
        (np.zeros((7, 3)), np.zeros((20, 3)), "at least 8"),
        (np.full((20, 3), np.nan), np.zeros((20, 3)), "finite"),
    ],
)
def test_unfit_input_is_refused(source, target, message):
    with pytest.raises(ValueError, match=message):
        proxy_a_distance(source, target, seed=0)
