"""The handwritten digits blended over patches of photographs: the same classes, a much harder picture."""

import numpy as np

from data_scripts.cache import cached_arrays
from data_scripts.handwriting import digit_images, digit_task
from data_scripts.photographs import photo_patches
from data_scripts.task import Task

BLEND_VERSION = "1"
CONTRAST = (0.5, 0.9)
"""Set so that a nearest neighbour on raw pixels finds the task as hard as in the course's design (.22 at k = 1)."""


def blend(ink: np.ndarray, patches: np.ndarray, *, seed: int) -> np.ndarray:
    """Draw each picture over its patch in a grey lighter or darker than the patch's mean.

    With opacity a = ink and grey level g: image = (1 − a) · patch + a · g, where g = mean(patch) ± c and the contrast
    c is uniform in `CONTRAST`; the sign goes to the side with more room.

    Args:
        ink: float32 ``(N, H, W)`` in [0, 1].
        patches: float32 ``(N, H, W)`` in [0, 1].
        seed: of the contrasts.

    Returns:
        float32 ``(N, H, W)`` in [0, 1].
    """
    generator = np.random.default_rng(seed)
    contrast = generator.uniform(*CONTRAST, size=(len(ink), 1, 1))
    mean = patches.mean(axis=(1, 2), keepdims=True)
    grey = np.where(mean > 0.5, mean - contrast, mean + contrast).clip(0, 1)
    return ((1 - ink) * patches + ink * grey).astype(np.float32)


def _make() -> dict[str, np.ndarray]:
    ink, labels = digit_images()
    patches = photo_patches(len(ink), half="task", seed=0).astype(np.float32) / 255
    return {"images": blend(ink, patches, seed=1), "labels": labels}


def load_photo_digits(*, split_seed: int = 0, part: str = "all") -> Task:
    """Load the digits over photographs. Row i shows the same digit as row i of handwriting, in the same split.

    Args:
        split_seed: of the stratified split into 50 % training, 15 % validation and 35 % test rows.
        part: ``"all"`` 1,797 digits, or the ``"first"`` or ``"second"`` of two halves that partition them.

    Returns:
        A `Task` with images float32 ``(N, 32, 32)`` in [0, 1], ten classes ``"0"`` to ``"9"``.
    """
    arrays = cached_arrays("photo_digits", BLEND_VERSION, _make)
    return digit_task("photo_digits", arrays["images"], arrays["labels"], split_seed=split_seed, part=part)
