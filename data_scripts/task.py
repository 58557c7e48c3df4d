"""What every loader returns: a `Task`, and the sampling of k labelled examples a class from it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Task:
    """A labelled data set with fixed, disjoint rows for training, validation and test.

    Attributes:
        name: the loader's name, such as ``"handwriting"``.
        inputs: float32. Images are ``(N, H, W)``, values in [0, 1]; tables are ``(N, features)`` in their own units.
        labels: int64 ``(N,)``, values ``0 … len(class_names) - 1``.
        class_names: one name a class, in label order.
        train, validation, test: int64 row numbers; every row is in exactly one of the three.
    """

    name: str
    inputs: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def rows(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(inputs[which], labels[which])``."""
        return self.inputs[which], self.labels[which]


def split_rows(
    labels: np.ndarray, *, seed: int, validation: float = 0.15, test: float = 0.35
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split rows into train, validation and test with the same class shares in each (stratified).

    Args:
        labels: ``(N,)`` class numbers.
        validation, test: shares of each class's rows, between 0 and 1, together below 1.
        seed: of the shuffle. The same seed gives the same rows on every machine.

    Returns:
        Three sorted int64 arrays of row numbers that partition ``range(N)``.

    Raises:
        ValueError: a share is negative, or nothing is left for training.
    """
    if validation < 0 or test < 0 or validation + test >= 1:
        raise ValueError(
            f"validation={validation} and test={test}: expected shares of at least 0 that leave rows to train on"
        )
    generator = np.random.default_rng(seed)
    parts: tuple[list, list, list] = ([], [], [])
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        n_test, n_validation = round(test * len(rows)), round(validation * len(rows))
        cuts = np.split(rows, [n_test, n_test + n_validation])
        for part, chosen in zip((2, 1, 0), cuts, strict=True):
            parts[part].append(chosen)
    train, held, tested = (np.sort(np.concatenate(part)).astype(np.int64) for part in parts)
    return train, held, tested


def sample_k_shot(task: Task, k: int, *, seed: int) -> np.ndarray:
    """Draw k training rows of every class.

    Draws are nested: the rows for k=5 contain those for k=1 of the same seed, so that a learning curve
    grows by adding examples rather than by changing them.

    Args:
        task: where to draw from; only ``task.train`` rows are used.
        k: examples a class, at least 1.
        seed: of the draw.

    Returns:
        int64 ``(k * classes,)`` row numbers, grouped by class in label order.

    Raises:
        ValueError: ``k`` is below 1 or some class has fewer than ``k`` training rows (the message names the class).
    """
    if k < 1:
        raise ValueError(f"k={k}: expected at least 1 example a class")
    generator = np.random.default_rng(seed)
    drawn = []
    for label, class_name in enumerate(task.class_names):
        rows = task.train[task.labels[task.train] == label]
        if len(rows) < k:
            raise ValueError(
                f"{task.name}: class {class_name!r} has {len(rows)} training rows, fewer than k={k}; use a smaller k"
            )
        drawn.append(generator.permutation(rows)[:k])
    return np.concatenate(drawn).astype(np.int64)
