"""Transferability scores against closed forms, bounds and invariances."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from workbook.methods.transferability import (
    h_score,
    leep,
    log_evidence,
    log_me,
    maximise_evidence,
    shrunk_h_score,
)


@pytest.fixture
def chance():
    return np.random.default_rng(0)


def test_one_hot_features_reach_the_maximum():
    labels = np.arange(40) % 4
    assert h_score(np.eye(4)[labels], labels) == pytest.approx(3)


def test_h_score_is_the_trace_of_its_definition(chance):
    labels = np.arange(90) % 3
    features = chance.normal(size=(90, 5)) + labels[:, None]
    means = np.stack([features[labels == c].mean(axis=0) for c in range(3)])[labels]
    definition = np.trace(np.linalg.solve(np.cov(features.T), np.cov(means.T)))
    assert h_score(features, labels) == pytest.approx(definition)


def test_h_score_ignores_invertible_linear_maps_and_shifts(chance):
    labels, features = np.arange(60) % 3, chance.normal(size=(60, 4))
    moved = features @ chance.normal(size=(4, 4)) + 7
    assert h_score(moved, labels) == pytest.approx(h_score(features, labels))


def test_h_score_of_noise_grows_with_the_dimension(chance):
    labels = np.arange(101) % 5
    found = [h_score(chance.normal(size=(101, 20)), labels) for _ in range(200)]
    assert np.mean(found) == pytest.approx(4 * 20 / 100, abs=0.05)


def test_more_features_than_rows_saturate_the_plain_score_and_not_the_shrunk_one(chance):
    labels = np.arange(50) % 5
    features = chance.normal(size=(50, 80))
    assert h_score(features, labels) == pytest.approx(4)
    assert shrunk_h_score(features, labels) < 0.5
    features[:, 0] += 20 * labels
    assert shrunk_h_score(features, labels) > 0.5


def test_constant_features_say_nothing():
    assert h_score(np.ones((10, 3)), np.arange(10) % 2) == 0


def test_shrunk_score_tends_to_the_plain_one_with_many_rows(chance):
    labels = np.arange(40_000) % 4
    features = chance.normal(size=(40_000, 6)) * [1, 1, 2, 2, 1, 3] + np.eye(6)[labels]
    assert shrunk_h_score(features, labels) == pytest.approx(h_score(features, labels), rel=0.02)


def test_leep_is_zero_for_a_source_that_knows_and_minus_entropy_for_one_that_does_not():
    labels = np.arange(30) % 3
    assert leep(np.eye(3)[[2, 0, 1]][labels], labels) == pytest.approx(0)
    assert leep(np.full((30, 7), 1 / 7), labels) == pytest.approx(-np.log(3))


def test_leep_lies_between_its_bounds(chance):
    for classes in (2, 5, 40):
        labels = chance.integers(0, 3, 60)
        theta = chance.dirichlet(np.full(classes, 0.3), 60)
        joint = np.stack([theta[labels == y].sum(axis=0) for y in range(3)]) / 60
        conditional = (joint * np.log(joint / joint.sum(axis=0))).sum()
        assert -np.log(3) - 1e-9 <= conditional <= leep(theta, labels) <= 0


def test_leep_refuses_logits(chance):
    with pytest.raises(ValueError, match="softmax"):
        leep(chance.normal(size=(10, 3)), np.arange(10) % 2)


def test_log_evidence_is_the_density_of_the_marginal(chance):
    features, targets = chance.normal(size=(12, 5)), chance.normal(size=12)
    marginal = np.eye(12) / 2.5 + features @ features.T / 0.7
    density = multivariate_normal(np.zeros(12), marginal).logpdf(targets)
    assert log_evidence(features, targets, 0.7, 2.5) == pytest.approx(density)


def test_no_neighbouring_precisions_have_more_evidence(chance):
    features = chance.normal(size=(80, 6))
    targets = features @ [1, -1, 0.5, 0, 0, 2] + 0.5 * chance.normal(size=80)
    best = maximise_evidence(features, targets)
    assert best.beta == pytest.approx(4, rel=0.4)
    for factors in ((1.02, 1), (0.98, 1), (1, 1.02), (1, 0.98)):
        assert log_evidence(features, targets, best.alpha * factors[0], best.beta * factors[1]) < best.log_evidence


def test_log_me_ignores_the_scale_and_a_rotation(chance):
    labels, features = np.arange(60) % 3, chance.normal(size=(60, 4)) + 1
    rotation = np.linalg.qr(chance.normal(size=(4, 4)))[0]
    assert log_me(30 * features @ rotation, labels) == pytest.approx(log_me(features, labels), abs=1e-6)


def test_log_me_prefers_features_that_tell(chance):
    labels = np.arange(60) % 3
    noise = chance.normal(size=(60, 8))
    assert log_me(np.hstack([noise, np.eye(3)[labels]]), labels) > log_me(noise, labels) + 0.3


def test_more_features_than_rows_stay_finite(chance):
    assert np.isfinite(log_me(chance.normal(size=(20, 50)), np.arange(20) % 4))


@pytest.mark.parametrize("score", [h_score, shrunk_h_score])
def test_rows_and_labels_must_belong_together(score):
    with pytest.raises(ValueError, match="labels"):
        score(np.ones((4, 2)), np.arange(3))
