"""USPS: 9,298 digits from envelopes, 16×16, from public files (see `data_scripts.download`).

Source: J. J. Hull, A database for handwritten text recognition research, IEEE PAMI 16(5), 1994.
"""

import bz2
from pathlib import Path

import numpy as np
from PIL import Image

from data_scripts.download import fetch
from data_scripts.errors import DataError, DownloadError
from data_scripts.handwriting import DIGITS
from data_scripts.task import Task, split_rows

SIDE = 16
ROWS = {"train": 7291, "test": 2007}
_TEXT = {"train": "usps.bz2", "test": "usps.t.bz2"}


def load_usps(*, split_seed: int = 0) -> Task:
    """Load USPS. Its published test part is the test set; validation rows come from its training part.

    Args:
        split_seed: of the 20 % of the training part that become validation rows.

    Returns:
        A `Task` with images float32 ``(9298, 32, 32)`` in [0, 1] (ink bright, upsampled bilinearly), ten classes
        ``"0"`` to ``"9"``.

    Raises:
        DownloadError: neither the one file ``usps.h5`` nor the two that a program can download are to be had.
    """
    (images, labels), (test_images, test_labels) = _read_parts()
    kept, held, _ = split_rows(labels, seed=split_seed, validation=0.2, test=0.0)
    rows = np.arange(len(labels), len(labels) + len(test_labels))
    small = np.concatenate([images, test_images])
    large = [np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BILINEAR)) for one in small]
    inputs = np.stack(large).clip(0, 1).astype(np.float32)
    return Task("usps", inputs, np.concatenate([labels, test_labels]), DIGITS, kept, held, rows)


def _read_parts() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return images ``(n, 16, 16)`` in [0, 1] and labels of both parts, from whichever packing there is."""
    try:
        path = fetch("usps.h5")
    except DownloadError:  # it is offered by hand only: the same digits are in two files that a program can get
        parts = [read_libsvm(fetch(_TEXT[part])) for part in ROWS]
    else:
        import h5py  # slow to import, and needed only here

        with h5py.File(path) as file:
            parts = [(np.asarray(file[part]["data"]), np.asarray(file[part]["target"])) for part in ROWS]
    return [(x.reshape(-1, SIDE, SIDE).astype(np.float32), y.astype(np.int64)) for x, y in parts]


def read_libsvm(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels ``(n, 256)`` brought from [−1, 1] to [0, 1] and labels 0 to 9 of a bzip2 file of LIBSVM's format.

    Each line is ``label index:value …`` with labels 1 to 10 (10 classes) and indices from 1; what is left out is 0.

    Raises:
        DataError: a line is not of that form.
    """
    pixels, labels = [], []
    with bz2.open(path, "rt") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                label, *entries = line.split()
                row = np.zeros(SIDE * SIDE, np.float32)
                for entry in entries:
                    index, value = entry.split(":")
                    row[int(index) - 1] = float(value)
                labels.append(int(float(label)) - 1)
            except (ValueError, IndexError) as error:
                raise DataError(f"{path}, line {number}: expected 'label index:value …', got {line[:40]!r}") from error
            pixels.append((row + 1) / 2)
    return np.stack(pixels), np.array(labels, np.int64)
