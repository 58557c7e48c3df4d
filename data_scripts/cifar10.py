"""CIFAR-10: ten kinds of things in pictures of 32×32 pixels, as published or as JPG.

Source: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.
"""

import pickle
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from data_scripts.cache import cached_arrays
from data_scripts.download import fetch, fetch_folder
from data_scripts.errors import DataError
from data_scripts.task import Task, split_rows

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PACKINGS = ("jpg", "original")


def load_cifar10(packing: str, *, split_seed: int = 0) -> Task:
    """Load CIFAR-10; its published test pictures are the test set.

    Args:
        packing: ``"jpg"`` for 10,000 training and 10,000 test pictures as JPG, whose losses cost networks that were
            trained on the original some ten points of accuracy; ``"original"`` for all 60,000 without loss. They are
            different data: ask for the one you mean.
        split_seed: of the 10 % of the training pictures that become validation rows.

    Returns:
        A `Task` with images uint8 ``(N, 32, 32, 3)``, red, green, blue.

    Raises:
        ValueError: an unknown packing.
        DownloadError: the archive is not in the cache and cannot be fetched.
    """
    if packing not in PACKINGS:
        raise ValueError(f"packing {packing!r} is unknown; expected one of {', '.join(map(repr, PACKINGS))}")
    if packing == "jpg":
        arrays = cached_arrays("cifar10-jpg", "1", lambda: _read_jpg(fetch_folder("cifar10_jpg_20k.zip")))
    else:
        arrays = cached_arrays("cifar10", "1", lambda: _read_batches(fetch("cifar-10-python.tar.gz")))
    labels, tested = arrays["labels"], arrays["tested"]
    train, test = np.flatnonzero(~tested), np.flatnonzero(tested)
    kept, held, _ = split_rows(labels[train], seed=split_seed, validation=0.1, test=0.0)
    return Task(f"cifar10 ({packing})", arrays["images"], labels, CLASSES, train[kept], train[held], test)


def _read_jpg(folder: Path) -> dict[str, np.ndarray]:
    paths = sorted(folder.glob("*/*/*.jpg"))
    images = []
    for path in paths:
        with Image.open(path) as picture:
            images.append(np.asarray(picture.convert("RGB")))
    labels = np.array([CLASSES.index(path.parent.name) for path in paths], np.int64)
    return {"images": np.stack(images), "labels": labels, "tested": np.array([p.parts[-3] == "test" for p in paths])}


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles dictionaries, lists, text, numbers and NumPy arrays, and nothing that could run code."""

    ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed here")
        return super().find_class(module, name)


def _read_batches(path: Path) -> dict[str, np.ndarray]:
    """Read the archive's six pickled batches of 10,000 rows: planes of red, green and blue, and labels."""
    images, labels, tested = [], [], []
    with tarfile.open(path) as archive:
        for batch in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
            try:
                member = archive.extractfile(f"cifar-10-batches-py/{batch}")
                content = _PlainUnpickler(member, encoding="bytes").load()
            except (KeyError, pickle.UnpicklingError) as error:
                raise DataError(f"{path}: {batch} cannot be read: {error}") from error
            images.append(content[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
            labels.append(content[b"labels"])
            tested.append(np.full(len(content[b"labels"]), batch == "test_batch"))
    return {
        "images": np.concatenate(images),
        "labels": np.concatenate(labels).astype(np.int64),
        "tested": np.concatenate(tested),
    }
