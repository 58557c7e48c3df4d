import numpy as np
import pytest

from data_scripts.corrupt import CONFUSED_DIGITS, flip_labels, long_tail_counts, sample_long_tailed
from data_scripts.task import Task, split_rows


def task(rows_a_class=40, classes=4):
    labels = np.repeat(np.arange(classes), rows_a_class)
    inputs = np.zeros((len(labels), 2, 2), np.float32)
    return Task("toy", inputs, labels, tuple("abcd"[:classes]), *split_rows(labels, seed=0))


def test_counts_add_up_fall_and_keep_the_ratio():
    counts = long_tail_counts(1000, 5, 16)
    assert counts.sum() == 1000
    assert (np.diff(counts) < 0).all()
    assert 15 < counts[0] / counts[-1] < 17
    assert np.allclose(counts[:-1] / counts[1:], 2, atol=0.05)


def test_balanced_counts_and_a_tail_that_needs_its_one_row():
    assert long_tail_counts(20, 4, 1).tolist() == [5, 5, 5, 5]
    steep = long_tail_counts(12, 4, 1000)
    assert steep.sum() == 12
    assert steep.min() == 1


@pytest.mark.parametrize(("total", "classes", "ratio"), [(100, 4, 0.5), (100, 1, 2), (3, 4, 2)])
def test_impossible_tails_are_refused(total, classes, ratio):
    with pytest.raises(ValueError, match="expected a ratio of at least 1"):
        long_tail_counts(total, classes, ratio)


def test_a_sample_has_the_counts_comes_from_training_rows_and_repeats_itself():
    toy = task()
    rows = sample_long_tailed(toy, 30, 5, seed=3)
    assert np.isin(rows, toy.train).all()
    assert len(np.unique(rows)) == 30
    counts = np.bincount(toy.labels[rows], minlength=4)
    assert sorted(counts, reverse=True) == long_tail_counts(30, 4, 5).tolist()
    assert np.array_equal(rows, sample_long_tailed(toy, 30, 5, seed=3))
    heads = {int(np.bincount(toy.labels[sample_long_tailed(toy, 30, 5, seed=s)]).argmax()) for s in range(20)}
    assert len(heads) > 1


def test_a_class_that_is_too_small_is_named():
    with pytest.raises(ValueError, match=r"toy: class '[abcd]' has 20 training rows, fewer than the \d+"):
        sample_long_tailed(task(), 60, 50, seed=0)


def test_the_share_is_exact_and_all_flipped_labels_are_wrong():
    labels = np.arange(1000) % 10
    noisy = flip_labels(labels, 0.4, classes=10, seed=0)
    wrong = noisy != labels
    assert wrong.sum() == 400
    assert noisy.min() >= 0
    assert noisy.max() <= 9
    differences = np.bincount((noisy - labels)[wrong] % 10, minlength=10)
    assert differences[0] == 0
    assert differences[1:].min() > 20
    assert np.array_equal(flip_labels(labels, 0.0, classes=10, seed=0), labels)


def test_more_noise_contains_less_noise_and_the_input_is_left_alone():
    labels = np.arange(200) % 10
    before = labels.copy()
    less, more = (flip_labels(labels, share, classes=10, seed=1) for share in (0.2, 0.4))
    flipped = less != labels
    assert np.array_equal(less[flipped], more[flipped])
    assert np.array_equal(labels, before)


def test_pairs_go_to_the_partner_and_back():
    labels = np.arange(100) % 10
    noisy = flip_labels(labels, 1.0, classes=10, seed=0, partner=CONFUSED_DIGITS)
    assert np.array_equal(noisy, np.array(CONFUSED_DIGITS)[labels])
    assert np.array_equal(np.array(CONFUSED_DIGITS)[noisy], labels)


@pytest.mark.parametrize(("share", "partner"), [(1.5, None), (0.2, (1, 0)), (0.2, (0, 2, 1))])
def test_flips_that_make_no_sense_are_refused(share, partner):
    with pytest.raises(ValueError, match="expected"):
        flip_labels(np.array([0, 1, 2]), share, classes=3, seed=0, partner=partner)
