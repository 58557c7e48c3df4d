"""Omniglot, first small background set: 136 handwritten characters of 5 alphabets, 20 drawings of each.

Source: B. M. Lake, R. Salakhutdinov and J. B. Tenenbaum, Human-level concept learning through probabilistic program
induction, Science 350, 2015.
"""

import numpy as np
from PIL import Image

from data_scripts.cache import cached_arrays
from data_scripts.download import fetch_folder
from data_scripts.task import Task, split_rows

SIDE = 32


def load_omniglot(*, split_seed: int = 0) -> Task:
    """Load the characters; each is a class, named ``alphabet/character``.

    Args:
        split_seed: of the stratified split into 50 % training, 15 % validation and 35 % test rows: of every
            character's 20 drawings, each by another person, 10, 3 and 7.

    Returns:
        A `Task` with images float32 ``(2720, 32, 32)`` in [0, 1] (ink bright, as in the digit tasks).

    Raises:
        DownloadError: the archive is not in the cache and cannot be fetched.
    """
    arrays = cached_arrays("omniglot-small1", "1", _make)
    names = tuple(str(name) for name in arrays["names"])
    train, validation, test = split_rows(arrays["labels"], seed=split_seed)
    return Task("omniglot_small1", arrays["images"], arrays["labels"], names, train, validation, test)


def _make() -> dict[str, np.ndarray]:
    folder = fetch_folder("images_background_small1.zip")
    paths = sorted(folder.glob("*/*/*.png"))
    names = sorted({f"{path.parts[-3]}/{path.parts[-2]}" for path in paths})
    labels = [names.index(f"{path.parts[-3]}/{path.parts[-2]}") for path in paths]
    images = []
    for path in paths:
        with Image.open(path) as picture:  # black ink, one bit a pixel
            grey = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        images.append(1 - np.asarray(grey, np.float32) / 255)
    return {"images": np.stack(images), "labels": np.array(labels, np.int64), "names": np.array(names)}
