import numpy as np
import pytest

from data_scripts.biased import draw_biased, ink, ink_width, selection_probability, stroke_thickness
from data_scripts.breast_cancer import load_breast_cancer
from data_scripts.task import Task


def big_task(n=40_000):
    """One normal column; everything is a training row."""
    rows = np.random.default_rng(0).normal(size=(n, 1)).astype(np.float32)
    labels = (rows[:, 0] > 0).astype(np.int64)
    return Task("toy", rows, labels, ("a", "b"), np.arange(n), np.arange(0), np.arange(0))


def test_probability_rises_or_falls_with_the_score():
    score = np.arange(101.0)
    up, down = (selection_probability(score, slope=slope) for slope in (4, -4))
    assert (np.diff(up) > 0).all()
    assert up[50] == pytest.approx(0.51)
    assert down == pytest.approx(up[::-1])
    assert min(up.min(), down.min()) >= 0.02
    assert np.allclose(selection_probability(10 * score - 3, slope=4), up)  # units do not matter


def test_the_source_is_selected_as_stated_and_true_weights_undo_it():
    task = big_task()
    x = task.inputs[:, 0].astype(float)
    probability = selection_probability(x, slope=2)
    draw = draw_biased(task, probability, seed=0)
    assert not set(draw.source) & set(draw.target)
    assert len(draw.target) == 20_000
    assert x[draw.source].mean() > 0.3
    assert draw.weights.mean() == pytest.approx(1)
    assert np.ptp(draw.weights * probability[draw.source]) < 1e-9
    for function in (x, x**2):
        assert np.average(function[draw.source], weights=draw.weights) == pytest.approx(function.mean(), abs=0.06)


def test_labels_play_no_part_and_seeds_do():
    task = load_breast_cancer()
    turned = Task("turned", task.inputs, 1 - task.labels, task.class_names, task.train, task.validation, task.test)
    probability = selection_probability(task.inputs[:, 0], slope=4)
    first, same, other = (draw_biased(t, probability, seed=s) for t, s in ((task, 0), (turned, 0), (task, 1)))
    assert np.array_equal(first.source, same.source)
    assert not np.array_equal(first.source, other.source)
    for draw in (first, other):
        assert set(draw.source) | set(draw.target) <= set(task.train)


def test_what_is_no_selection_is_refused():
    task = load_breast_cancer()
    with pytest.raises(ValueError, match="scores that differ"):
        selection_probability(np.ones(10), slope=1)
    with pytest.raises(ValueError, match="least"):
        selection_probability(np.arange(10), slope=1, least=0)
    for wrong in (np.ones(3), np.zeros(len(task.labels)), np.full(len(task.labels), 1.2)):
        with pytest.raises(ValueError, match="probabilities above 0"):
            draw_biased(task, wrong, seed=0)
    with pytest.raises(ValueError, match="was selected"):
        draw_biased(task, np.full(len(task.labels), 1e-12), seed=0)


def test_ink_thickness_and_shape():
    bars = np.zeros((3, 32, 32))
    for image, width in zip(bars, (2, 4, 8), strict=True):
        image[4:28, 10 : 10 + width] = 1
    assert ink(bars) == pytest.approx([24 * w / 1024 for w in (2, 4, 8)])
    # the standard deviation of 2, 4 and 8 equally inked columns: √((w² − 1)/12); a shift does not change it
    assert ink_width(bars) == pytest.approx([np.sqrt((w * w - 1) / 12) for w in (2, 4, 8)])
    assert ink_width(np.roll(bars, 9, axis=2)) == pytest.approx(ink_width(bars))
    with pytest.raises(ValueError, match="without ink"):
        ink_width(np.zeros((1, 32, 32)))
    thickness = stroke_thickness(bars)
    assert thickness[:2] == pytest.approx([2, 4], rel=0.15)
    assert (np.diff(thickness) > 0).all()
    assert stroke_thickness(np.zeros((1, 32, 32))) == 0
