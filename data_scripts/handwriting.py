"""Handwritten digits: the 1,797 8×8 digits that scikit-learn carries, upsampled to 32×32.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
(the test part, 13 writers). A random split mixes writers: every writer may be in training and in test rows.
"""

from functools import lru_cache

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from data_scripts.task import Task, split_rows

DIGITS = tuple("0123456789")


@lru_cache(maxsize=1)
def digit_images() -> tuple[np.ndarray, np.ndarray]:
    """Return all digits, upsampled bilinearly: float32 ``(1797, 32, 32)`` in [0, 1] (ink bright) and int64 labels."""
    small, labels = load_digits(return_X_y=True)
    small = small.reshape(-1, 8, 8).astype(np.float32) / 16
    large = np.stack([np.asarray(Image.fromarray(x).resize((32, 32), Image.Resampling.BILINEAR)) for x in small])
    return large.clip(0, 1), labels.astype(np.int64)


def rows_of_part(n: int, part: str, *, seed: int) -> np.ndarray:
    """Return the sorted rows of one of two halves that partition ``range(n)``; all rows for ``part="all"``.

    Where one digit set is the source and the other the target, load one with ``part="first"`` and the other with
    ``part="second"`` and the same ``split_seed``: no handwritten digit is then in both.
    """
    if part == "all":
        return np.arange(n)
    if part not in ("first", "second"):
        raise ValueError(f"part={part!r}: expected 'all', 'first' or 'second'")
    order = np.random.default_rng([seed, 77]).permutation(n)
    return np.sort(order[: n // 2] if part == "first" else order[n // 2 :])


def digit_task(name: str, images: np.ndarray, labels: np.ndarray, *, split_seed: int, part: str) -> Task:
    """Make the `Task` of pictures of scikit-learn's digits, row i of ``images`` showing digit i."""
    chosen = rows_of_part(len(labels), part, seed=split_seed)
    train, validation, test = split_rows(labels[chosen], seed=split_seed)
    return Task(name, images[chosen], labels[chosen], DIGITS, train, validation, test)


def load_handwriting(*, split_seed: int = 0, part: str = "all") -> Task:
    """Load the handwritten digits.

    Args:
        split_seed: of the stratified split into 50 % training, 15 % validation and 35 % test rows.
        part: ``"all"`` 1,797 digits, or the ``"first"`` or ``"second"`` of two halves that partition them.

    Returns:
        A `Task` with images float32 ``(N, 32, 32)`` in [0, 1], ten classes ``"0"`` to ``"9"``.
    """
    return digit_task("handwriting", *digit_images(), split_seed=split_seed, part=part)
