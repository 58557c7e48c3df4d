import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from workbook.methods.tradaboost import tradaboost

STUMP = DecisionTreeClassifier(max_depth=1, random_state=0)


def tables(seed, n_source=200, n_target=20, flipped=0.0):
    """Class 1 is x > 0; a share of the source's labels is wrong where the second column is above 0."""
    generator = np.random.default_rng(seed)
    xs, xt = generator.normal(size=(n_source, 2)), generator.normal(size=(n_target, 2))
    ys, yt = (xs[:, 0] > 0).astype(int), (xt[:, 0] > 0).astype(int)
    turned = (xs[:, 1] > 0) & (generator.random(n_source) < flipped)
    return (xs, np.where(turned, 1 - ys, ys)), (xt, yt)


def test_two_rounds_by_hand():
    """One column, stumps: in round 1 the cut at 0 is right on the source and wrong on one of three target rows."""
    source = (np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1]))
    target = (np.array([[-1.5], [1.5], [1.6]]), np.array([0, 1, 0]))
    fitted = tradaboost(source, target, learner=STUMP, rounds=2)
    assert fitted.errors[0] == pytest.approx(1 / 3)
    # β_1 = 1/2: the wrong target row's weight doubles, no source row was wrong
    assert fitted.source_weights[0] == pytest.approx(np.full(4, 1 / 7))
    assert fitted.source_weights[1] == pytest.approx(np.full(4, 1 / 8))
    assert fitted.votes[0] == 0


def test_a_source_row_that_is_wrong_loses_by_the_papers_factor():
    source = (np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 0]))
    target = (np.array([[-1.5], [1.5], [1.6], [1.7], [-1.2]]), np.array([0, 1, 1, 1, 0]))
    weights = tradaboost(source, target, learner=STUMP, rounds=8).source_weights
    beta = 1 / (1 + np.sqrt(2 * np.log(4) / 8))
    assert weights[1][3] / weights[1][0] == pytest.approx(beta)


def test_source_rows_that_contradict_the_target_fade():
    source, target = tables(0, flipped=1.0)
    fitted = tradaboost(source, target, learner=LogisticRegression(), rounds=30)
    wrong = source[1] != (source[0][:, 0] > 0)
    last = fitted.source_weights[-1]
    assert last[wrong].mean() < 0.05 * last[~wrong].mean()


def test_it_learns_and_labels_may_be_any():
    source, target = tables(1)
    names = np.array(["no", "yes"])
    fitted = tradaboost((source[0], names[source[1]]), (target[0], names[target[1]]), learner=STUMP, rounds=10)
    new = np.random.default_rng(5).normal(size=(500, 2))
    assert (fitted(new) == names[(new[:, 0] > 0).astype(int)]).mean() > 0.95
    assert set(fitted.classes) == {"no", "yes"}


def test_the_same_twice_and_the_learner_untouched():
    source, target = tables(2, flipped=0.3)
    first, second = (tradaboost(source, target, learner=STUMP, rounds=6) for _ in range(2))
    assert (first.source_weights == second.source_weights).all()
    assert not hasattr(STUMP, "tree_")


def test_what_cannot_be_boosted_is_refused():
    source, target = tables(3)
    for wrong in (
        {"source": (source[0][:1], source[1][:1]), "target": target},
        {"source": source, "target": (target[0][:0], target[1][:0])},
        {"source": (source[0], source[1][:-1]), "target": target},
    ):
        with pytest.raises(ValueError, match="expected a label a row"):
            tradaboost(**wrong, learner=STUMP)
    with pytest.raises(ValueError, match="two rounds"):
        tradaboost(source, target, learner=STUMP, rounds=1)
