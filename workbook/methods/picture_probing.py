"""Frozen features of pictures, probed: scores over draws, pixels as a baseline, and pictures and maps to look at.

NumPy, scikit-learn and matplotlib only: features come in as arrays, from whichever network made them.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from data_scripts.task import Task, sample_k_shot
from workbook.plotting import COLOURS

FIRST_SEARCH_DRAW = 1000
"""Draws for choices are numbered from here, draws for results from 0: no draw serves both."""
MARKERS = "os^DvPX*<>"


def k_shot_scores(
    rows: np.ndarray, task: Task, model: Callable[[int], BaseEstimator], k: int, *, draws: int, choosing: bool = False
) -> list[float]:
    """Fit a classifier on k training rows a class and score it on rows that it has not seen, draw by draw.

    Args:
        rows: ``(N, d)``, one for each row of the task.
        task: whose labels and split are used.
        model: k → an unfitted classifier.
        k: rows a class.
        draws: how many; draw i takes the same training rows whatever the features and the classifier.
        choosing: for choosing a setting, score on all training and validation rows that were not drawn, and take other
            draws; test rows are left alone.

    Returns:
        The accuracy of each draw.

    Raises:
        ValueError: some class has fewer than k training rows.
    """
    found, open_rows = [], np.concatenate([task.train, task.validation])
    for draw in range(draws):
        train = sample_k_shot(task, k, seed=draw + FIRST_SEARCH_DRAW * choosing)
        held = np.setdiff1d(open_rows, train) if choosing else task.test
        found.append(model(k).fit(rows[train], task.labels[train]).score(rows[held], task.labels[held]))
    return found


def pixel_rows(pictures: np.ndarray, side: int) -> np.ndarray:
    """Return uint8 pictures ``(N, H, W, 3)`` averaged down to ``side`` and laid out in rows ``(N, side * side * 3)``.

    Values are float32 in [0, 1].
    """
    small = [Image.fromarray(picture).resize((side, side), Image.Resampling.BOX) for picture in pictures]
    return np.stack([np.asarray(one, np.float32).ravel() for one in small]) / 255


def plot_pictures(pictures: Sequence[np.ndarray], titles: Sequence[str], *, columns: int = 7) -> Figure:
    """Draw pictures in a grid, line by line, each under its title (``$`` in it already escaped)."""
    lines = max(1, -(-len(pictures) // columns))
    figure, grid = plt.subplots(lines, columns, figsize=(1.55 * columns, 1.85 * lines), squeeze=False)
    for axes, picture, title in zip_longest(grid.flat, pictures, titles):
        axes.axis("off")
        if picture is not None:
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
            axes.set_title(title, fontsize=10)
    return figure


def plot_maps(spaces: Mapping[str, np.ndarray], labels: np.ndarray, names: Sequence[str], *, seed: int) -> Figure:
    """Draw rows of features as points: two principal components above, t-SNE below, a column for each space.

    Args:
        spaces: name → ``(n, d)``, n at least 4.
        labels: ``(n,)``.
        names: of the classes; a legend is drawn for up to twelve.
        seed: of t-SNE, whose perplexity (30, or a third of the rows) stands in the title.
    """
    perplexity = min(30, (len(labels) - 1) // 3)
    figure, grid = plt.subplots(2, len(spaces), figsize=(4.5 * len(spaces), 7.4), squeeze=False)
    for column, (space, rows) in zip(grid.T, spaces.items(), strict=True):
        tsne = TSNE(2, perplexity=perplexity, max_iter=500, random_state=seed)
        for axes, model, method in zip(column, (PCA(2), tsne), ("PCA", f"t-SNE, perplexity {perplexity}"), strict=True):
            places = model.fit_transform(rows)
            for label, name in enumerate(names):
                colour, marker = list(COLOURS.values())[label % 8], MARKERS[label % 10]
                axes.scatter(*places[labels == label].T, s=26, marker=marker, color=colour, label=name)
            axes.set(title=f"{method}: {space}", xticks=[], yticks=[], xlabel="first axis", ylabel="second axis")
    if len(names) <= 12:
        grid[0, -1].legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
