import numpy as np
import pytest

from data_scripts.task import Task, sample_k_shot, split_rows

LABELS = np.repeat([0, 1, 2], [100, 60, 40])
"""Three classes of unequal size."""


def toy_task(labels=LABELS, class_names=("cat", "dog", "newt"), seed=0):
    train, validation, test = split_rows(labels, seed=seed)
    inputs = np.arange(len(labels), dtype=np.float32)[:, None]
    return Task("pets", inputs, labels, class_names, train, validation, test)


def test_every_row_is_in_exactly_one_split():
    parts = split_rows(LABELS, seed=3)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(200))
    for part in parts:
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


def test_every_split_has_the_same_class_shares():
    train, validation, test = split_rows(LABELS, seed=0)
    assert np.bincount(LABELS[train]).tolist() == [50, 30, 20]
    assert np.bincount(LABELS[validation]).tolist() == [15, 9, 6]
    assert np.bincount(LABELS[test]).tolist() == [35, 21, 14]


def test_shares_are_those_asked_for():
    train, validation, test = split_rows(LABELS, seed=0, validation=0.25, test=0)
    assert (len(train), len(validation), len(test)) == (150, 50, 0)


def test_the_order_of_the_rows_does_not_decide_the_split():
    train, _, _ = split_rows(np.zeros(1000, int), seed=0)
    assert abs(train.mean() - 499.5) < 30, "the rows should come from everywhere, not from one end"


def test_a_seed_gives_one_split():
    for first, again, other in zip(*(split_rows(LABELS, seed=seed) for seed in (5, 5, 6)), strict=True):
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (0.9, 0.3), (-0.1, 0.3), (0.3, -0.1)])
def test_shares_that_leave_nothing_to_train_on_are_refused(validation, test):
    with pytest.raises(ValueError, match=rf"validation={validation} and test={test}: expected shares"):
        split_rows(LABELS, seed=0, validation=validation, test=test)


def test_rows_brings_inputs_and_labels_together():
    task = toy_task()
    inputs, labels = task.rows(np.array([0, 199]))
    assert inputs.ravel().tolist() == [0, 199]
    assert labels.tolist() == [0, 2]


def test_k_rows_of_every_class_grouped_in_label_order():
    task = toy_task()
    drawn = sample_k_shot(task, 4, seed=0)
    assert drawn.dtype == np.int64
    assert task.labels[drawn].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert len(set(drawn.tolist())) == 12


def test_only_training_rows_are_drawn():
    task = toy_task()
    everything = sample_k_shot(task, 20, seed=0)  # the smallest class has 20 training rows: all of them
    assert set(everything) <= set(task.train)
    assert set(everything[40:]) == set(task.train[task.labels[task.train] == 2])


@pytest.mark.parametrize(("fewer", "more"), [(1, 2), (2, 5), (5, 20)])
def test_draws_of_a_seed_are_nested(fewer, more):
    task = toy_task()
    small, large = (sample_k_shot(task, k, seed=7).reshape(3, k) for k in (fewer, more))
    np.testing.assert_array_equal(small, large[:, :fewer])


def test_a_seed_gives_one_draw():
    task = toy_task()
    first, again, other = (sample_k_shot(task, 5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_training_row_has_its_turn():
    task = toy_task()
    drawn = np.concatenate([sample_k_shot(task, 1, seed=seed) for seed in range(400)])
    assert set(drawn) == set(task.train)


def test_too_few_rows_name_the_class():
    with pytest.raises(ValueError, match="pets: class 'newt' has 20 training rows, fewer than k=21"):
        sample_k_shot(toy_task(), 21, seed=0)


@pytest.mark.parametrize("k", [0, -1])
def test_k_starts_at_one(k):
    with pytest.raises(ValueError, match=f"k={k}: expected at least 1"):
        sample_k_shot(toy_task(), k, seed=0)
