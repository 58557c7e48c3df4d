"""Scores over draws that keep choices and results apart, pixels in rows, and the figures of lesson 05e."""

from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from data_scripts.task import Task, sample_k_shot, split_rows
from workbook.methods.picture_probing import k_shot_scores, pixel_rows, plot_maps, plot_pictures


@pytest.fixture
def task():
    labels = np.repeat([0, 1], 40)
    return Task("toy", np.zeros((80, 1)), labels, ("a", "b"), *split_rows(labels, seed=0))


class Recorder(KNeighborsClassifier):
    """Keeps the row numbers that it was fitted on and scored on: they are the features."""

    seen: ClassVar[list] = []

    def fit(self, rows, labels):
        self.seen.append(set(rows[:, 0].astype(int)))
        return super().fit(rows, labels)

    def score(self, rows, labels):
        self.seen.append(set(rows[:, 0].astype(int)))
        return super().score(rows, labels)


@pytest.mark.parametrize("choosing", [False, True])
def test_choices_never_see_test_rows_and_results_see_no_other(task, choosing):
    Recorder.seen = []
    numbers = np.arange(80.0)[:, None]
    assert len(k_shot_scores(numbers, task, lambda k: Recorder(1), 3, draws=4, choosing=choosing)) == 4
    fitted, scored = Recorder.seen[::2], Recorder.seen[1::2]
    assert fitted == [set(sample_k_shot(task, 3, seed=1000 * choosing + draw)) for draw in range(4)]
    for train, held in zip(fitted, scored, strict=True):
        expected = (set(task.train) | set(task.validation)) - train if choosing else set(task.test)
        assert held == expected


def test_pixels_are_averaged_and_laid_out_in_rows():
    pictures = np.zeros((2, 8, 8, 3), np.uint8)
    pictures[1, :4, :, 0] = 255
    rows = pixel_rows(pictures, 2)
    assert rows.shape == (2, 12)
    assert rows[1].reshape(2, 2, 3)[..., 0].tolist() == [[1, 1], [0, 0]]
    assert rows[:, 1::3].max() == 0


def test_figures_have_a_place_for_every_picture_and_a_mark_for_every_class():
    figure = plot_pictures([np.zeros((4, 4, 3), np.uint8)] * 3, ["x", "y", "z"], columns=2)
    assert [axes.get_title() for axes in figure.axes] == ["x", "y", "z", ""]
    rows = np.random.default_rng(0).normal(size=(24, 5))
    figure = plot_maps({"pixels": rows, "features": rows}, np.arange(24) % 3, ["a", "b", "c"], seed=0)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["PCA: pixels", "PCA: features", "t-SNE, perplexity 7: pixels", "t-SNE, perplexity 7: features"]
    assert len(figure.axes[1].get_legend().get_texts()) == 3
    plt.close("all")
