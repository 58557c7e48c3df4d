"""The MNIST test set: 10,000 handwritten digits of 500 other writers, from public files (see `data_scripts.download`).

Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Gradient-based learning applied to document recognition, 1998.
"""

import gzip
from pathlib import Path

import numpy as np

from data_scripts.download import fetch
from data_scripts.errors import DataError
from data_scripts.handwriting import DIGITS
from data_scripts.task import Task, split_rows

PADDING = 2
"""Pixels of background added on every side: 28×28 becomes the 32×32 of the other digit tasks."""


def load_mnist_test(*, split_seed: int = 0) -> Task:
    """Load the 10,000 digits of MNIST's test files.

    They are the *target* task of an experiment here, with training, validation and test rows of their own.

    Args:
        split_seed: of the stratified split into 50 % training, 15 % validation and 35 % test rows.

    Returns:
        A `Task` with images float32 ``(10000, 32, 32)`` in [0, 1] (ink bright), ten classes ``"0"`` to ``"9"``.

    Raises:
        DownloadError: the files are not in the cache and cannot be fetched.
    """
    small = read_idx(fetch("t10k-images-idx3-ubyte.gz"))
    labels = read_idx(fetch("t10k-labels-idx1-ubyte.gz")).astype(np.int64)
    images = np.zeros((len(small), 28 + 2 * PADDING, 28 + 2 * PADDING), np.float32)
    images[:, PADDING:-PADDING, PADDING:-PADDING] = small
    images /= 255
    train, validation, test = split_rows(labels, seed=split_seed)
    return Task("mnist_test", images, labels, DIGITS, train, validation, test)


def read_idx(path: Path) -> np.ndarray:
    """Return the unsigned bytes of a gzipped IDX file in the shape that its header states.

    Raises:
        DataError: the file is not in that format, or has another length than its header states.
    """
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise DataError(f"{path}: expected an IDX file of unsigned bytes, got the first bytes {content[:4]!r}")
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", count=dimensions, offset=4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    if values.size != shape.prod(dtype=np.int64):
        raise DataError(f"{path}: the header states {shape.tolist()} values, the file holds {values.size}")
    return values.reshape(shape)
