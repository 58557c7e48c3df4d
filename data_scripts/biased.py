"""Biased samples on purpose: a row is labelled with a probability that depends on its inputs, and on nothing else.

Every row x of a pool is kept with probability P(s=1 | x), by a draw that does not look at its label. The kept rows
are the source, p_S(x) = P(s=1 | x) p(x)/P(s=1), the others of the population the target, p_T(x) = p(x). So
p(y | x) is the same in both (covariate shift), and the importance weight p_T(x)/p_S(x) is known: it is
P(s=1)/P(s=1 | x). Where the population itself is a table, 'known' is exact.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.special import expit

from data_scripts.task import Task


@dataclass(frozen=True)
class BiasedDraw:
    """One draw from a task's training rows.

    Attributes:
        source: int64 row numbers of the labelled, biased sample.
        target: int64 row numbers of an unbiased sample of the target, to be used without labels; disjoint from source.
        weights: ``(len(source),)`` the true importance weights of the source rows, scaled to mean 1.
    """

    source: np.ndarray
    target: np.ndarray
    weights: np.ndarray


def selection_probability(score: np.ndarray, *, slope: float, least: float = 0.02) -> np.ndarray:
    """Return P(s=1 | x) = least + (1 − least) σ(slope · z), z the score less its median, over its quartiles' spread.

    Args:
        score: ``(N,)``, a number computed from the inputs of every row of the population.
        slope: above 0, rows with a large score are kept more often; below 0, those with a small one.
        least: probability that no row falls below, in (0, 1): all of the target keeps some chance to be seen.

    Raises:
        ValueError: ``least`` is not inside (0, 1), a score is not finite, or half of the scores are equal.
    """
    score = np.asarray(score, dtype=float)
    low, middle, high = np.quantile(score, (0.25, 0.5, 0.75))
    if not 0 < least < 1 or not np.isfinite(score).all() or not high > low:
        raise ValueError(f"least={least}, quartiles {low} and {high}: expected least in (0, 1) and scores that differ")
    return least + (1 - least) * expit(slope * (score - middle) / (high - low))


def draw_biased(task: Task, probability: np.ndarray, *, seed: int) -> BiasedDraw:
    """Cut the training rows into two halves at random; select the source from one, and take the other as target.

    Args:
        task: only ``task.train`` rows are used; its test rows are an unbiased sample of the target.
        probability: ``(N,)`` P(s=1 | x) of every row, in (0, 1]; it must have been computed without labels.
        seed: of the cut and of the selection.

    Raises:
        ValueError: there is not one probability in (0, 1] for each row of the task, or nothing was selected.
    """
    probability = np.asarray(probability, dtype=float)
    if probability.shape != task.labels.shape or not ((probability > 0) & (probability <= 1)).all():
        raise ValueError(f"{task.name}: expected {len(task.labels)} probabilities above 0 and at most 1")
    generator = np.random.default_rng([seed, 6])
    order = generator.permutation(task.train)
    pool, target = order[: len(order) // 2], np.sort(order[len(order) // 2 :])
    source = np.sort(pool[generator.random(len(pool)) < probability[pool]])
    if not len(source):
        raise ValueError(f"{task.name}: no row of {len(pool)} was selected; the probabilities are too small")
    weights = 1 / probability[source]
    return BiasedDraw(source, target, weights / weights.mean())


def ink(images: np.ndarray) -> np.ndarray:
    """Return the mean brightness ``(N,)`` of pictures ``(N, H, W)`` with bright ink."""
    return np.asarray(images, dtype=float).mean(axis=(1, 2))


def ink_width(images: np.ndarray) -> np.ndarray:
    """Return how wide the writing is, in pixels ``(N,)``: the standard deviation of the ink's horizontal position.

    Raises:
        ValueError: a picture of ``(N, H, W)`` has no ink.
    """
    profile = np.asarray(images, dtype=float).sum(axis=1)  # over the rows of each picture: (N, W)
    total = profile.sum(axis=1)
    if not (total > 0).all():
        raise ValueError("a picture without ink has no width")
    places = np.arange(profile.shape[1])
    middle = profile @ places / total
    return np.sqrt(np.maximum(0, profile @ places**2 / total - middle**2))


def stroke_thickness(images: np.ndarray, *, threshold: float = 0.5) -> np.ndarray:
    """Return how thick the strokes are, in pixels ``(N,)``: four times the mean distance of ink to the background.

    In a long straight stroke of width t the distance to its edge is t/4 on average. Ink is what is brighter than
    ``threshold`` times the picture's maximum; a picture without any has thickness 0.
    """
    thickness = np.zeros(len(images))
    for i, image in enumerate(images):
        inside = image > threshold * image.max()
        if inside.any():
            # the distance runs to the centre of the nearest background pixel, half a pixel beyond the edge
            thickness[i] = 4 * (distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1][inside] - 0.5).mean()
    return thickness
