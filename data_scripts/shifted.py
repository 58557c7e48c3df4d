"""The same pictures under a change that keeps their labels: inputs for asking what a trained network stands."""

import numpy as np
from scipy import ndimage

KINDS = ("turned", "blurred", "noisy", "faint", "negative")
"""What may happen to a picture; each has one kind of change. `shift_images` says how strong."""


def _turned(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    angle = generator.uniform(20, 30) * generator.choice((-1, 1))
    return ndimage.rotate(image, angle, reshape=False, order=1, mode="nearest")


def _blurred(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return ndimage.gaussian_filter(image, generator.uniform(1.5, 2.5), mode="nearest")


def _noisy(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return image + generator.normal(0, generator.uniform(0.15, 0.25), image.shape)


def _faint(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return 0.5 + generator.uniform(0.2, 0.4) * (image - 0.5)


def _negative(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return 1 - image


_CHANGES = dict(zip(KINDS, (_turned, _blurred, _noisy, _faint, _negative), strict=True))


def shift_images(images: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Change every picture in one of five ways; what it shows stays what it was.

    Turned by 20 to 30 degrees either way; blurred by a Gaussian of 1.5 to 2.5 pixels; with normal noise of standard
    deviation 0.15 to 0.25; faint, at 0.2 to 0.4 of its contrast around mid-grey; or as a negative. The kinds are dealt
    out evenly, the same seed gives the same changes.

    Args:
        images: ``(N, H, W)``, values in [0, 1].
        seed: of kinds and strengths.

    Returns:
        float32 ``(N, H, W)`` in [0, 1], and for each picture the index of its change in `KINDS`, int64 ``(N,)``.

    Raises:
        ValueError: the pictures are not ``(N, H, W)``.
    """
    if np.ndim(images) != 3:
        raise ValueError(f"expected pictures (N, H, W), got an array of shape {np.shape(images)}")
    generator = np.random.default_rng(seed)
    kinds = generator.permutation(np.arange(len(images)) % len(KINDS))
    changed = [_CHANGES[KINDS[kind]](image, generator) for kind, image in zip(kinds, images, strict=True)]
    return np.clip(np.reshape(changed, np.shape(images)), 0, 1).astype(np.float32), kinds.astype(np.int64)
