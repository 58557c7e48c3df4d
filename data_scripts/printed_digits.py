"""Digits printed in the fonts that matplotlib ships: a labelled source domain for handwritten targets."""

import matplotlib
import numpy as np

from data_scripts.cache import cached_arrays
from data_scripts.glyphs import letter_faces, render
from data_scripts.handwriting import DIGITS
from data_scripts.task import Task, split_rows

PRINT_VERSION = "1"
BOXES = (20, 22, 24, 26, 28, 30, 32)
"""Each face prints each digit at seven sizes (pixels of the longer side of its box)."""


def _make() -> dict[str, np.ndarray]:
    images, labels = [], []
    for label, digit in enumerate(DIGITS):
        for face in letter_faces():
            for box in BOXES:
                images.append(render(digit, face, box=box))
                labels.append(label)
    return {"images": np.stack(images), "labels": np.array(labels, np.int64)}


def load_printed_digits(*, split_seed: int = 0) -> Task:
    """Load the printed digits: 16 faces × 7 sizes of each digit, 1,120 images.

    Args:
        split_seed: of the stratified split into 50 % training, 15 % validation and 35 % test rows.

    Returns:
        A `Task` with images float32 ``(1120, 32, 32)`` in [0, 1] (ink bright), ten classes ``"0"`` to ``"9"``.
    """
    arrays = cached_arrays("printed_digits", f"{PRINT_VERSION}-matplotlib{matplotlib.__version__}", _make)
    labels = arrays["labels"]
    train, validation, test = split_rows(labels, seed=split_seed)
    return Task("printed_digits", arrays["images"].astype(np.float32) / 255, labels, DIGITS, train, validation, test)
