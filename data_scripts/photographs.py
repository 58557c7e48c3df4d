"""Patches of the two photographs that scikit-learn ships, as backgrounds.

The left half of each photograph is for pre-training, the right half for the target task: no background pixel that
GlyphNet was trained on appears in photo_digits.
"""

from functools import lru_cache

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

HALVES = ("pretraining", "task")


@lru_cache(maxsize=1)
def _grey_halves() -> dict[str, tuple[Image.Image, ...]]:
    greys = [Image.fromarray(photo).convert("L") for photo in load_sample_images().images]
    middle = greys[0].width // 2
    return {
        "pretraining": tuple(g.crop((0, 0, middle, g.height)) for g in greys),
        "task": tuple(g.crop((middle, 0, g.width, g.height)) for g in greys),
    }


def labelled_patches(n: int, *, half: str, seed: int, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Cut square grey patches at random places and scales (32 to 96 pixels, resized).

    Args:
        n: how many.
        half: ``"pretraining"`` (left halves of the photographs) or ``"task"`` (right halves); they share no pixel.
        seed: of photographs, places and scales.
        size: side of a returned patch in pixels.

    Returns:
        uint8 ``(n, size, size)``, and int64 ``(n,)``: 0 for a patch of the palace, 1 for one of the flower.

    Raises:
        ValueError: ``half`` is neither of the two.
    """
    if half not in HALVES:
        raise ValueError(f"half={half!r}: expected one of {HALVES}")
    photos = _grey_halves()[half]
    generator = np.random.default_rng(seed)
    patches, sources = np.empty((n, size, size), np.uint8), np.empty(n, np.int64)
    for index in range(n):
        sources[index] = generator.integers(len(photos))
        photo = photos[sources[index]]
        side = int(generator.integers(32, 97))
        left = int(generator.integers(photo.width - side + 1))
        top = int(generator.integers(photo.height - side + 1))
        box = (left, top, left + side, top + side)
        patches[index] = photo.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return patches, sources


def photo_patches(n: int, *, half: str, seed: int, size: int = 32) -> np.ndarray:
    """Return the patches of `labelled_patches` without their labels: uint8 ``(n, size, size)``."""
    return labelled_patches(n, half=half, seed=seed, size=size)[0]
