import numpy as np
import pytest
from scipy.special import softmax

from workbook.methods.selection import (
    certainty,
    dev_risk,
    mutual_information,
    reverse_validation,
    share_kept,
    soft_neighbourhood_density,
)

K = 5
BALANCED = np.eye(K)[np.arange(40) % K]
COLLAPSED = np.eye(K)[np.zeros(40, int)]
UNIFORM = np.full((40, K), 1 / K)


def test_certainty_and_information_at_their_corners():
    assert [certainty(p) for p in (BALANCED, COLLAPSED, UNIFORM)] == pytest.approx([0, 0, -np.log(K)])
    assert [mutual_information(p) for p in (BALANCED, COLLAPSED, UNIFORM)] == pytest.approx([np.log(K), 0, 0])


def test_information_is_the_divergence_from_the_mean_row():
    rows = softmax(np.random.default_rng(0).normal(size=(30, K)), axis=1)
    divergence = (rows * np.log(rows / rows.mean(axis=0))).sum(axis=1).mean()
    assert mutual_information(rows) == pytest.approx(divergence)
    renamed = rows[:, np.random.default_rng(1).permutation(K)]
    assert mutual_information(renamed) == pytest.approx(mutual_information(rows))


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_density_of_equal_clusters_is_its_closed_form(temperature):
    n, m = 40, 8
    z = (m - 1) * np.exp(1 / temperature) + n - m
    exact = np.log(z) - (m - 1) * np.exp(1 / temperature) / temperature / z
    assert soft_neighbourhood_density(BALANCED, temperature=temperature) == pytest.approx(exact, rel=1e-9)


def test_density_is_largest_when_all_rows_agree_and_ignores_scattered_ones():
    scattered = np.eye(40)
    assert soft_neighbourhood_density(COLLAPSED) == pytest.approx(np.log(39))
    assert soft_neighbourhood_density(scattered) == pytest.approx(np.log(39))  # nobody is near: all equally far
    assert soft_neighbourhood_density(BALANCED) == pytest.approx(np.log(7), abs=1e-6)


def test_the_way_back_finds_a_permutation():
    generator = np.random.default_rng(0)
    labels = np.arange(200) % K
    features = 3 * np.eye(K)[labels] + 0.1 * generator.normal(size=(200, K))
    swapped = np.array([1, 0, 2, 3, 4])
    assert reverse_validation(features, labels, features[:50], labels[:50]) == 1
    assert reverse_validation(features, swapped[labels], features[:50], labels[:50]) == pytest.approx(3 / 5)
    assert reverse_validation(features, np.full(200, 2), features[:50], labels[:50]) == pytest.approx(1 / 5)


def test_dev_is_unbiased_where_the_ratio_is_known_and_sharper_than_the_plain_mean():
    plain, controlled = [], []
    for seed in range(300):
        x = np.random.default_rng(seed).normal(size=400)
        weights, losses = np.exp(x - 0.5), 1.0 + 0.2 * x  # target N(1, 1): its risk is 1.2
        plain.append((weights * losses).mean())
        controlled.append(dev_risk(losses, weights))
    assert np.mean(controlled) == pytest.approx(1.2, abs=0.02)
    assert np.std(controlled) < 0.5 * np.std(plain)


def test_dev_of_equal_weights_is_the_mean():
    assert dev_risk(np.array([0.0, 1.0, 2.0]), np.ones(3)) == pytest.approx(1)
    nearly = 20 + 1e-14 * np.arange(3)  # rounding is no variance
    assert dev_risk(np.array([0.0, 1.0, 5.0]), nearly) == pytest.approx(40)


def test_shares_of_the_oracle():
    accuracies = [0.5, 0.6, 0.7, 0.8]
    assert share_kept([0, 1, 2, 3], accuracies) == pytest.approx(1)
    assert share_kept([3, 2, 1, 0], accuracies) == pytest.approx(-1)
    assert share_kept([1, 1, 1, 1], accuracies) == pytest.approx(0)
    assert share_kept([0, 0, 1, 0], accuracies, default=0.6) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: certainty(np.ones((3, 2))), "apply softmax"),
        (lambda: mutual_information(np.ones(3)), "at least one row"),
        (lambda: soft_neighbourhood_density(BALANCED[:2]), "at least 3 rows"),
        (lambda: reverse_validation(BALANCED, [0], BALANCED, np.zeros(40)), "a label a row"),
        (lambda: dev_risk(np.ones(3), -np.ones(3)), "no negative weight"),
        (lambda: share_kept([1.0, np.nan], [0.1, 0.2]), "finite score"),
        (lambda: share_kept([1.0, 2.0], [0.2, 0.2]), "nothing to keep"),
    ],
)
def test_mistakes_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
