"""Episodes: which rows are drawn, and what nearest class means score on them."""

import numpy as np
import pytest

from workbook.methods.few_shot import draw_episodes, play_episodes

LABELS = np.repeat(np.arange(6), 8)


def test_an_episode_has_different_rows_of_different_classes():
    episodes = draw_episodes(LABELS, ways=4, support=3, queries=2, count=50, seed=0)
    assert episodes.shape == (50, 4, 5)
    for rows in episodes:
        assert len(np.unique(rows)) == rows.size
        names = LABELS[rows]
        assert (names == names[:, :1]).all()
        assert len(np.unique(names[:, 0])) == 4
    assert np.array_equal(episodes, draw_episodes(LABELS, ways=4, support=3, queries=2, count=50, seed=0))
    assert not np.array_equal(episodes, draw_episodes(LABELS, ways=4, support=3, queries=2, count=50, seed=1))


def test_only_the_classes_that_may_be_drawn_are():
    episodes = draw_episodes(LABELS, ways=2, support=1, queries=1, count=30, seed=0, classes=np.array([1, 4]))
    assert set(LABELS[episodes].ravel()) == {1, 4}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ways": 1}, "at least 2 ways"),
        ({"queries": 0}, "at least 2 ways and 1 of each"),
        ({"ways": 7}, "6 classes: too few"),
        ({"support": 7}, "class 0 has 8 rows, fewer than support"),
    ],
)
def test_impossible_episodes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        draw_episodes(LABELS, **{"ways": 3, "support": 2, "queries": 2, "count": 1, "seed": 0} | settings)


def test_features_that_are_the_labels_are_right_and_constant_ones_at_chance():
    episodes = draw_episodes(LABELS, ways=4, support=3, queries=2, count=20, seed=0)
    assert (play_episodes(np.eye(6)[LABELS], episodes, support=3, shots=1) == 1).all()
    assert (play_episodes(np.ones((48, 2)), episodes, support=3, shots=3) == 0.25).all()


def test_accuracy_is_that_of_the_definition():
    features = np.random.default_rng(0).normal(size=(48, 5)) + 2 * np.eye(6)[LABELS][:, :5]
    episodes = draw_episodes(LABELS, ways=3, support=4, queries=4, count=10, seed=0)
    for shots in (1, 4):
        for rows, score in zip(episodes, play_episodes(features, episodes, support=4, shots=shots), strict=True):
            means = [features[own[:shots]].mean(axis=0) for own in rows]
            right = [
                np.argmin([np.linalg.norm(features[row] - mean) for mean in means]) == way
                for way, own in enumerate(rows)
                for row in own[4:]
            ]
            assert score == pytest.approx(np.mean(right))


def test_shots_beyond_the_support_are_refused():
    episodes = draw_episodes(LABELS, ways=2, support=2, queries=1, count=1, seed=0)
    with pytest.raises(ValueError, match="shots=3, support=2"):
        play_episodes(np.ones((48, 2)), episodes, support=2, shots=3)
