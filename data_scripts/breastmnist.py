"""BreastMNIST: 780 ultrasound pictures, malignant or not: small, grey, and unlike anything in ImageNet.

Source: J. Yang et al., MedMNIST v2, Scientific Data 10, 2023, from W. Al-Dhabyani et al., Dataset of breast ultrasound
images, Data in Brief 28, 2020. Nothing here is fit for medical use.
"""

import numpy as np

from data_scripts.download import fetch
from data_scripts.task import Task

CLASSES = ("malignant", "normal or benign")


def load_breastmnist() -> Task:
    """Load BreastMNIST in its published split: 546 training, 78 validation and 156 test rows.

    Returns:
        A `Task` with images float32 ``(780, 28, 28)`` in [0, 1]; about a quarter of the rows are malignant, so that
        accuracy alone says little.

    Raises:
        DownloadError: the file is not in the cache and cannot be fetched.
    """
    with np.load(fetch("breastmnist.npz")) as file:
        images = [file[f"{part}_images"] for part in ("train", "val", "test")]
        # Labels are (N, 1) as published, (N,) where the arrays were saved again.
        labels = [file[f"{part}_labels"].reshape(-1) for part in ("train", "val", "test")]
    ends = np.cumsum([len(one) for one in labels])
    train, validation, test = np.split(np.arange(ends[-1]), ends[:-1])
    inputs = np.concatenate(images).astype(np.float32) / 255
    return Task("breastmnist", inputs, np.concatenate(labels).astype(np.int64), CLASSES, train, validation, test)
