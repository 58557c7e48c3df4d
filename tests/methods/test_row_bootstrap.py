import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from workbook.methods.row_bootstrap import bootstrap_auc, bootstrap_mean, rare_class_scores, wins
from workbook.statistics import wilson_interval


def scored(n=120, seed=0):
    generator = np.random.default_rng(seed)
    positive = generator.random(n) < 0.25
    return np.round(generator.normal(size=n) + positive, 1), positive


def test_mean_of_wins_is_the_auc_ties_included():
    scores, positive = scored()
    assert len(np.unique(scores)) < len(scores)
    assert wins(scores, positive).mean() == pytest.approx(roc_auc_score(positive, scores))


def test_auc_interval_is_that_of_drawing_rows_again():
    scores, positive = scored()
    found = bootstrap_auc(wins(scores, positive), repeats=2000)
    generator, by_hand = np.random.default_rng(1), []
    for _ in range(1000):
        rows = np.concatenate([generator.choice(np.flatnonzero(p), p.sum()) for p in (positive, ~positive)])
        by_hand.append(roc_auc_score(positive[rows], scores[rows]))
    assert found.mean == pytest.approx(roc_auc_score(positive, scores))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])), abs=0.015)


def test_pairing_narrows_the_interval_of_a_difference():
    scores, positive = scored()
    noisy = scores + 0.1 * np.random.default_rng(3).normal(size=len(scores))
    paired = bootstrap_auc(wins(scores, positive) - wins(noisy, positive))
    alone = bootstrap_auc(wins(scores, positive))
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_mean_of_right_and_wrong_agrees_with_wilson():
    right = np.arange(400) < 330
    found, expected = bootstrap_mean(right), wilson_interval(330, 400)
    assert found.mean == expected.mean
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert found == bootstrap_mean(right)


def test_scores_of_a_rare_class_are_scikit_learns_means_over_runs():
    scores, rare = scored()
    other = -scores
    found = rare_class_scores([scores, other], rare, threshold=0.5)
    assert found["AUC"] == pytest.approx(0.5)
    assert found["accuracy"] == pytest.approx(np.mean([((s > 0.5) == rare).mean() for s in (scores, other)]))
    balanced = [balanced_accuracy_score(rare, s > 0.5) for s in (scores, other)]
    assert found["balanced accuracy"] == pytest.approx(np.mean(balanced))


def test_a_rule_that_never_finds_anything_is_accurate_and_worthless():
    rare = np.arange(100) < 20
    found = rare_class_scores([np.zeros(100)], rare)
    expected = {"accuracy": 0.8, "balanced accuracy": 0.5, "AUC": 0.5, "from": 0.5, "to": 0.5}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("positive", [np.zeros(4, bool), np.ones(4, bool), np.array([True, False])])
def test_wins_need_both_kinds_and_a_score_a_row(positive):
    with pytest.raises(ValueError, match="positives of"):
        wins(np.arange(4.0), positive)


def test_nothing_to_draw_from():
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_mean([])
    with pytest.raises(ValueError, match="at least one of each"):
        bootstrap_auc(np.zeros((0, 3)))
