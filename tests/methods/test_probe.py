import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from workbook.methods.probe import fit_probe


def blobs(n=120, seed=0):
    chance = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    return chance.normal(size=(n, 5)) + 1.5 * np.eye(3, 5)[labels], labels


def probabilities(model, features):
    W, b = model
    z = np.exp(features @ W.T + b)
    return z / z.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("C", [0.1, 1.0, 30.0])
def test_it_is_scikit_learns_logistic_regression(C):
    features, labels = blobs()
    theirs = LogisticRegression(C=C, max_iter=1000, tol=1e-8).fit(features, labels)
    ours = probabilities(fit_probe(features, np.eye(3)[labels], C=C), features)
    assert np.allclose(ours, theirs.predict_proba(features), atol=5e-3)


def test_weights_are_repeated_rows():
    features, labels = blobs(30)
    weights = np.arange(30) % 3 + 1.0
    repeated = np.repeat(np.arange(30), weights.astype(int))
    one = fit_probe(features, np.eye(3)[labels], C=1.0, weights=weights)
    other = fit_probe(features[repeated], np.eye(3)[labels[repeated]], C=1.0)
    assert np.allclose(probabilities(one, features), probabilities(other, features), atol=5e-3)


def test_an_offset_moves_the_bias_by_as_much_and_nothing_else():
    features, labels = blobs()
    offset = np.log([0.7, 0.2, 0.1])
    W, b = fit_probe(features, np.eye(3)[labels], C=1.0)
    shifted_W, shifted_b = fit_probe(features, np.eye(3)[labels], C=1.0, offset=offset)
    assert np.allclose(W, shifted_W, atol=0.01)
    moved = shifted_b - (b - offset)
    assert np.ptp(moved) < 0.02


def test_soft_targets_pull_the_probabilities_towards_the_middle():
    features, labels = blobs()
    hard = probabilities(fit_probe(features, np.eye(3)[labels], C=100.0), features)
    soft = probabilities(fit_probe(features, 0.6 * np.eye(3)[labels] + 0.4 / 3, C=100.0), features)
    assert soft.max() < hard.max()
    assert soft.max(axis=1).mean() < 0.8


@pytest.mark.parametrize(("C", "rows"), [(0.0, 120), (1.0, 119)])
def test_what_makes_no_sense_is_refused(C, rows):
    features, labels = blobs()
    with pytest.raises(ValueError, match="expected C above 0 and a target a row"):
        fit_probe(features, np.eye(3)[labels[:rows]], C=C)
