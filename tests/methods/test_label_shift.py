import numpy as np
import pytest

from workbook.methods.label_shift import black_box_frequencies, em_frequencies

SOURCE = np.array([0.5, 0.3, 0.2])
TARGET = np.array([0.1, 0.2, 0.7])
CENTRES = np.array([-2.0, 0.0, 2.0])


def _posterior(x):
    joint = np.exp(-((x[:, None] - CENTRES) ** 2) / 2) * SOURCE
    return joint / joint.sum(axis=1, keepdims=True)


def _sample(frequencies, n, seed):
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, size=n, p=frequencies)
    return CENTRES[labels] + generator.normal(size=n), labels


def test_both_find_the_frequencies_of_a_mixture():
    x, _ = _sample(TARGET, 40_000, 0)
    np.testing.assert_allclose(em_frequencies(_posterior(x), SOURCE, iterations=300), TARGET, atol=0.015)
    held, labels = _sample(SOURCE, 40_000, 1)
    found = black_box_frequencies(_posterior(held).argmax(1), labels, _posterior(x).argmax(1), classes=3)
    np.testing.assert_allclose(found, TARGET, atol=0.02)


def test_em_climbs_the_likelihood_and_is_exact_for_one_hot_rows():
    x, _ = _sample(TARGET, 500, 2)
    rows = _posterior(x)
    likelihood = [
        np.log((rows / SOURCE) @ em_frequencies(rows, SOURCE, iterations=i)).sum() for i in (0, 1, 2, 5, 20, 100)
    ]
    assert (np.diff(likelihood) > -1e-9).all()
    np.testing.assert_allclose(em_frequencies(np.eye(3)[[0, 1, 1, 2]], SOURCE), [0.25, 0.5, 0.25], atol=1e-9)


def test_a_perfect_classifier_leaves_the_counts():
    labels = np.array([0, 1, 2, 0])
    found = black_box_frequencies(labels, labels, np.array([2, 2, 1, 2]), classes=3)
    np.testing.assert_allclose(found, [0, 0.25, 0.75], atol=1e-12)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="one positive frequency"):
        em_frequencies(np.ones((4, 3)) / 3, np.array([0.5, 0.5, 0.0]))
    with pytest.raises(ValueError, match="2 of 3 classes"):
        black_box_frequencies([0, 1], [0, 1], [0, 1], classes=3)
