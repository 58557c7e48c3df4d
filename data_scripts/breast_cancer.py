"""A table: thirty measurements of cell nuclei and the diagnosis, as scikit-learn carries it.

Source: W. Wolberg, O. Mangasarian, N. Street, W. Street, Breast Cancer Wisconsin (Diagnostic), UCI Machine Learning
Repository, 1995.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer as load_table

from data_scripts.task import Task, split_rows


def feature_names() -> tuple[str, ...]:
    """Return the thirty column names, in column order."""
    return tuple(map(str, load_table().feature_names))


def load_breast_cancer(*, split_seed: int = 0) -> Task:
    """Load the table, unscaled: fit a scaler on training rows only.

    Args:
        split_seed: of the stratified split into 50 % training, 15 % validation and 35 % test rows.

    Returns:
        A `Task` with inputs float32 ``(569, 30)`` in the units of `feature_names`, classes ``"malignant"`` and
        ``"benign"``.
    """
    table = load_table()
    labels = table.target.astype(np.int64)
    train, validation, test = split_rows(labels, seed=split_seed)
    names = tuple(map(str, table.target_names))
    return Task("breast_cancer", table.data.astype(np.float32), labels, names, train, validation, test)
