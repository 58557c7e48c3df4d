"""Which of two photographs is behind the letter? A source task whose answer lies in everything but the writing.

Chapter 01 pre-trains on it to show negative transfer: the network learns to look past what a reader needs.
"""

import numpy as np

from data_scripts.cache import cached_arrays
from data_scripts.glyphs import load_glyphs
from data_scripts.photo_digits import blend
from data_scripts.photographs import labelled_patches
from data_scripts.task import Task, split_rows

VERSION = "1"
PICTURES = 4000


def _make() -> dict[str, np.ndarray]:
    glyphs = load_glyphs()
    rows = np.random.default_rng(0).choice(len(glyphs.labels), PICTURES, replace=False)
    patches, photographs = labelled_patches(PICTURES, half="pretraining", seed=0)
    return {"images": blend(glyphs.inputs[rows], patches.astype(np.float32) / 255, seed=0), "labels": photographs}


def load_which_photo(*, split_seed: int = 0) -> Task:
    """Load letters over photographs, labelled by the photograph.

    Args:
        split_seed: of the stratified split into 50 % training, 15 % validation and 35 % test rows.

    Returns:
        A `Task` with images float32 ``(4000, 32, 32)`` in [0, 1], classes ``"palace"`` and ``"flower"``.
    """
    arrays = cached_arrays("which_photo", VERSION, _make)
    train, validation, test = split_rows(arrays["labels"], seed=split_seed)
    return Task("which_photo", arrays["images"], arrays["labels"], ("palace", "flower"), train, validation, test)
