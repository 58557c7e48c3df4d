"""Spoils a labelled training set on purpose, the same way for the same seed: long-tailed classes, wrong labels."""

import numpy as np

from data_scripts.task import Task

CONFUSED_DIGITS = (2, 7, 0, 8, 9, 6, 5, 1, 3, 4)
"""For every digit the one it is confused with: 0↔2, 1↔7, 3↔8, 4↔9, 5↔6."""


def long_tail_counts(total: int, classes: int, ratio: float) -> np.ndarray:
    """Return how many rows the classes of a long-tailed set have, the largest first.

    The counts fall geometrically, n_j ∝ ratio^(−j/(classes − 1)), so that the first is ``ratio`` times the last before
    rounding; they add up to ``total`` (what rounding down leaves goes to the largest remainders), none is below 1.

    Raises:
        ValueError: the ratio is below 1, there are fewer than two classes, or ``total`` is below ``classes``.
    """
    if ratio < 1 or classes < 2 or total < classes:
        raise ValueError(
            f"total={total}, classes={classes}, ratio={ratio}: expected a ratio of at least 1, at least two "
            "classes and a row for each"
        )
    shares = ratio ** (-np.arange(classes) / (classes - 1))
    wanted = total * shares / shares.sum()
    counts = np.maximum(1, np.floor(wanted).astype(int))
    while counts.sum() < total:
        counts[np.argmax(wanted - counts)] += 1
    while counts.sum() > total:  # rows that the least classes got for nothing, taken from the largest
        counts[0] -= 1
    return counts


def sample_long_tailed(task: Task, total: int, ratio: float, *, seed: int) -> np.ndarray:
    """Draw training rows whose class counts are `long_tail_counts`, the classes in random order.

    The seed fixes the order of the classes and the order of the rows within each: with the same seed, the rows of
    a class for a smaller count are among those for a larger one.

    Args:
        task: where to draw from; only ``task.train`` rows are used.
        total: rows in all.
        ratio: of the largest class to the smallest; 1 is balanced.
        seed: of the draw.

    Returns:
        int64 ``(total,)`` row numbers, grouped by class in label order.

    Raises:
        ValueError: as `long_tail_counts`, or some class has too few training rows (the message names it).
    """
    generator = np.random.default_rng(seed)
    classes = len(task.class_names)
    counts = np.empty(classes, dtype=int)
    counts[generator.permutation(classes)] = long_tail_counts(total, classes, ratio)
    drawn = []
    for label, (class_name, count) in enumerate(zip(task.class_names, counts, strict=True)):
        rows = generator.permutation(task.train[task.labels[task.train] == label])
        if len(rows) < count:
            raise ValueError(
                f"{task.name}: class {class_name!r} has {len(rows)} training rows, fewer than the {count} that "
                f"total={total} and ratio={ratio} ask for"
            )
        drawn.append(rows[:count])
    return np.concatenate(drawn).astype(np.int64)


def flip_labels(
    labels: np.ndarray, share: float, *, classes: int, seed: int, partner: tuple[int, ...] | None = None
) -> np.ndarray:
    """Return a copy of the labels in which a share of them, to the nearest row, is wrong.

    The flipped rows are chosen at random; with the same seed, those of a smaller share are among those of a larger.

    Args:
        labels: int64 ``(n,)``.
        share: of wrong labels, between 0 and 1.
        classes: how many there are.
        seed: of the choice of rows and of their new labels.
        partner: the class that each class is mistaken for, such as `CONFUSED_DIGITS`; without it, every other class
            is as likely (symmetric noise).

    Raises:
        ValueError: the share is outside [0, 1], or ``partner`` does not name another class for every class.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share={share}: expected a number between 0 and 1")
    if partner is not None and (len(partner) != classes or any(p == c for c, p in enumerate(partner))):
        raise ValueError(f"partner={partner}: expected another class for each of the {classes} classes")
    generator = np.random.default_rng(seed)
    order, steps = generator.permutation(len(labels)), generator.integers(1, classes, size=len(labels))
    rows, flipped = order[: round(share * len(labels))], labels.copy()
    wrong = (labels + steps) % classes if partner is None else np.asarray(partner)[labels]
    flipped[rows] = wrong[rows]
    return flipped
