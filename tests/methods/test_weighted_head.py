import numpy as np
import pytest

from workbook.methods.weighted_head import (
    change_frequencies,
    fit_weighted_head,
    head,
    held_out_probabilities,
    recalls,
)


def blobs(counts=(12, 9, 6), *, seed=0, spread=0.7):
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = 2 * np.eye(len(counts), 4)
    return centres[labels] + generator.normal(0, spread, (len(labels), 4)), labels


def test_weights_count_like_repeated_rows():
    features, labels = blobs()
    weights = np.random.default_rng(1).integers(1, 4, len(labels))
    weighted = fit_weighted_head(features, labels, weights, strengths=[5.0])
    repeated = head(5.0 / weights.mean()).fit(np.repeat(features, weights, 0), np.repeat(labels, weights))
    assert np.abs(weighted.predict_proba(features) - repeated.predict_proba(features)).max() < 0.01


def test_the_scale_of_the_weights_changes_nothing():
    features, labels = blobs()
    weights = np.random.default_rng(1).random(len(labels)) + 0.1
    one, other = (fit_weighted_head(features, labels, scale * weights) for scale in (1, 50))
    assert one.C == other.C
    assert np.allclose(one.coef_, other.coef_)


def test_the_setting_is_the_one_with_the_least_weighted_held_out_loss():
    features, labels = blobs(spread=2.0)
    strengths = (0.001, 0.05, 1000.0)
    weights = np.where(labels == 2, 5.0, 1.0)
    weights /= weights.mean()

    def loss(C):
        given = held_out_probabilities(features, labels, weights, C=C, classes=3)
        return -(weights * np.log(given[np.arange(len(labels)), labels])).sum()

    assert min(strengths, key=loss) == fit_weighted_head(features, labels, weights, strengths=strengths).C


def test_a_held_out_row_had_no_part_in_its_prediction():
    features, labels = blobs(counts=(6, 6))
    changed = features.copy()
    changed[0] = 40.0
    before, after = (held_out_probabilities(x, labels, C=1.0, classes=2) for x in (features, changed))
    same = [row for row in range(12) if np.allclose(before[row], after[row])]
    assert 0 not in same
    assert len(same) == 3  # the rows of its own fold of four


def test_a_class_of_one_row_and_bad_weights_are_named():
    features, labels = blobs(counts=(5, 1))
    with pytest.raises(ValueError, match="class 1 has one row"):
        held_out_probabilities(features, labels, C=1.0, classes=2)
    features, labels = blobs()
    for weights in (np.zeros(len(labels)), -np.ones(len(labels)), np.full(len(labels), np.nan)):
        with pytest.raises(ValueError, match="finite weights"):
            fit_weighted_head(features, labels, weights)


def test_changed_frequencies_are_bayes_rule():
    joint = np.random.default_rng(0).random((5, 3))
    given = joint / joint.sum(axis=0)  # p(x | y), a column a class
    source, target = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.2, 0.6])

    def posterior(frequencies):
        return given * frequencies / (given @ frequencies)[:, None]

    assert np.allclose(change_frequencies(posterior(source), source, target), posterior(target))
    with pytest.raises(ValueError, match="above 0"):
        change_frequencies(posterior(source), np.array([1.0, 0, 0]), target)


def test_recalls_give_the_accuracy_at_any_frequencies():
    labels, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 2])
    found = recalls(labels, predicted, 3)
    assert np.allclose(found, [2 / 3, 1 / 2, 1])
    assert np.bincount(labels) / 6 @ found == pytest.approx((labels == predicted).mean())
    with pytest.raises(ValueError, match="class 3 has no row"):
        recalls(labels, predicted, 4)
