"""Pictures as a bad camera or bad weather would give them: noise, fog, blur; the labels stay true.

Simple versions of three of the corruptions by which D. Hendrycks and T. Dietterich (Benchmarking neural network
robustness to common corruptions and perturbations, ICLR 2019) test networks; levels are set by the caller.
"""

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter


def _checked(images: np.ndarray, level: float) -> np.ndarray:
    images = np.asarray(images, dtype=np.float32)
    if images.ndim != 4 or (images.size and not (images.min() >= 0 and images.max() <= 1)):
        raise ValueError(f"images of shape {images.shape}: expected (N, C, H, W) with values in [0, 1]")
    if level < 0:
        raise ValueError(f"level={level}: expected at least 0")
    return images


def noisy(images: np.ndarray, level: float, *, seed: int) -> np.ndarray:
    """Add normal noise of standard deviation ``level`` to every value, cut to [0, 1].

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        level: at least 0.
        seed: of the noise.

    Raises:
        ValueError: these are no such images, or the level is negative.
    """
    images = _checked(images, level)
    noise = np.random.default_rng(seed).standard_normal(images.shape, dtype=np.float32)
    return (images + np.float32(level) * noise).clip(0, 1)


def foggy(images: np.ndarray, level: float) -> np.ndarray:
    """Mix every picture with white: (1 − level) · image + level, so that contrast falls and everything is bright.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        level: the share of white, from 0 to 1.

    Raises:
        ValueError: these are no such images, or the level is outside [0, 1].
    """
    images = _checked(images, level)
    if level > 1:
        raise ValueError(f"level={level}: expected a share of white from 0 to 1")
    return (1 - np.float32(level)) * images + np.float32(level)


def blurred(images: np.ndarray, level: float) -> np.ndarray:
    """Blur by a Gaussian of standard deviation ``level`` pixels; the border is mirrored.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        level: in pixels, at least 0.

    Raises:
        ValueError: these are no such images, or the level is negative.
    """
    images = _checked(images, level)
    return gaussian_filter(images, (0, 0, level, level)).clip(0, 1)


def to_box(images: np.ndarray, *, side: int = 26, ink: float = 0.2) -> np.ndarray:
    """Cut every grey picture to its ink, scale the longer side of that box to ``side`` pixels, and centre it.

    What two collections of digits do differently before anybody learns from them: how large and where a digit stands.

    Args:
        images: ``(N, 1, H, W)`` in [0, 1], ink bright.
        side: of the box, in pixels, at most H and W.
        ink: values above it count as ink; a picture without any stays as it is.

    Raises:
        ValueError: these are no such images, or the box is larger than the picture.
    """
    images = _checked(images, 0)
    height, width = images.shape[2:]
    if images.shape[1] != 1 or not 1 <= side <= min(height, width):
        raise ValueError(f"images of shape {images.shape}, side={side}: expected one channel and a box that fits")
    boxed = images.copy()
    for grey, out in zip(images[:, 0], boxed[:, 0], strict=True):
        rows, columns = np.flatnonzero((grey > ink).any(1)), np.flatnonzero((grey > ink).any(0))
        if not len(rows):
            continue
        cut = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        scale = side / max(cut.shape)
        high, wide = (max(1, round(scale * n)) for n in cut.shape)
        scaled = np.asarray(Image.fromarray(cut).resize((wide, high), Image.Resampling.BILINEAR)).clip(0, 1)
        top, left = (height - high) // 2, (width - wide) // 2
        out[:] = 0
        out[top : top + high, left : left + wide] = scaled
    return boxed
