"""Features as a product: pooling with checked shapes, and classifiers on top, tuned inside the training rows.

Nothing here knows a deep-learning framework: feature maps come in as arrays, from whichever network made them.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler, normalize
from sklearn.svm import SVC

POOLINGS = ("average", "max", "flat")
"""Mean over places, maximum over places, every place kept."""

FOLDS = 3
"""Folds of the cross-validation, fewer where a class has fewer rows."""


def pool(maps: np.ndarray, how: str, *, images: int) -> np.ndarray:
    """Turn feature maps into one row an image.

    Args:
        maps: ``(N, C, H, W)``, channels before places as PyTorch has them.
        how: one of `POOLINGS`.
        images: N, how many images went in: asked for, so that a reshaping mistake upstream cannot pass.

    Returns:
        ``(N, C)``, or ``(N, C * H * W)`` for ``"flat"``.

    Raises:
        ValueError: not four dimensions, another number of images, or an unknown pooling.
    """
    if maps.ndim != 4 or len(maps) != images:
        raise ValueError(f"feature maps of shape {maps.shape}: expected ({images}, channels, height, width)")
    if how == "average":
        return maps.mean(axis=(2, 3))
    if how == "max":
        return maps.max(axis=(2, 3))
    if how == "flat":
        return maps.reshape(images, -1)
    raise ValueError(f"unknown pooling {how!r}: expected one of {POOLINGS}")


def prototypes(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean feature row of every class, ``(classes, d)`` (Snell et al. 2017 call it a prototype).

    Args:
        features: ``(n, d)``.
        labels: ``(n,)``, values ``0 … classes - 1``.

    Raises:
        ValueError: features and labels differ in length, or a class has no row (the message names it).
    """
    if len(features) != len(labels):
        raise ValueError(f"{len(features)} rows of features and {len(labels)} labels")
    counts = np.bincount(labels, minlength=classes)
    if len(counts) > classes or not counts.all():
        raise ValueError(f"rows a class: {counts.tolist()}; expected {classes} classes with at least one row each")
    sums = np.zeros((classes, features.shape[1]))
    np.add.at(sums, labels, features)
    return sums / counts[:, None]


class NearestPrototype(ClassifierMixin, BaseEstimator):
    """Predict the class with the nearest mean, in a metric between Euclid's and Mahalanobis's.

    The squared distance of x to a class mean μ is ``(x − μ)ᵀ M⁻¹ (x − μ)`` with ``M = (1 − s) C + s tr(C)/d · I``, C
    the covariance within classes and s the shrinkage. With s = 1 it is the plain nearest mean; so it is, whatever s,
    where no class has two rows and C says nothing.
    """

    def __init__(self, shrinkage: float = 1.0):
        self.shrinkage = shrinkage

    def fit(self, features: np.ndarray, labels: np.ndarray) -> "NearestPrototype":
        """Learn means and metric from ``(n, d)`` features and ``(n,)`` labels."""
        if not 0 < self.shrinkage <= 1:
            raise ValueError(f"shrinkage={self.shrinkage}: expected above 0 and at most 1")
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        self.means_ = prototypes(features, numbers, len(self.classes_))
        inside = features - self.means_[numbers]
        d = features.shape[1]
        spread = np.square(inside).sum() / d
        self.whitening_ = np.eye(d)
        if self.shrinkage < 1 and spread > 0:
            metric = (1 - self.shrinkage) * inside.T @ inside + self.shrinkage * spread * np.eye(d)
            self.whitening_ = np.linalg.inv(np.linalg.cholesky(metric)).T
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the labels ``(m,)`` of ``(m, d)`` features."""
        rows, means = features @ self.whitening_, self.means_ @ self.whitening_
        # ‖x − μ‖² without ‖x‖², which is the same for every class.
        return self.classes_[(np.square(means).sum(axis=1) - 2 * rows @ means.T).argmin(axis=1)]


def contrast(rows: np.ndarray) -> np.ndarray:
    """Subtract from every row of ``(n, d)`` its own mean, and scale it to length 1: brightness and contrast go."""
    return normalize(rows - rows.mean(axis=1, keepdims=True))


def neighbour_accuracy(features: np.ndarray, labels: np.ndarray, neighbours: int = 1) -> float:
    """Return the leave-one-out accuracy of the nearest neighbours: each row is named by the rows nearest to it.

    Args:
        features: ``(n, d)``.
        labels: ``(n,)``.
        neighbours: how many vote; of classes with equal votes the smallest label wins.

    Raises:
        ValueError: there are not more rows than neighbours.
    """
    if len(features) <= neighbours:
        raise ValueError(f"{len(features)} rows: expected more than {neighbours} neighbours")
    # Without an argument, kneighbors leaves each row out of its own neighbours.
    nearest = NearestNeighbors(n_neighbors=neighbours).fit(features).kneighbors(return_distance=False)
    votes = np.apply_along_axis(np.bincount, 1, labels[nearest], minlength=labels.max() + 1)
    return float((votes.argmax(axis=1) == labels).mean())


_SCALERS = {
    "as they are": FunctionTransformer,
    "unit length": Normalizer,
    "contrast": lambda: FunctionTransformer(contrast),
    "standardised": StandardScaler,
}
SCALINGS = tuple(_SCALERS)
"""What is done to rows before the classifier; only 'standardised' learns from training rows (each column's mean and
deviation), the others look at one row at a time."""

_MODELS = {
    "logistic regression": lambda: LogisticRegression(max_iter=2000),
    "linear SVM": lambda: SVC(kernel="linear"),
    "kernel SVM": lambda: SVC(kernel="rbf"),
    "nearest neighbours": lambda: KNeighborsClassifier(weights="distance"),
    "prototypes": NearestPrototype,
}
CLASSIFIERS = tuple(_MODELS)

GRIDS: Mapping[str, tuple[dict, ...]] = MappingProxyType(
    {
        "logistic regression": tuple({"C": C} for C in (1.0, 10.0, 100.0, 1e3)),
        "linear SVM": tuple({"C": C} for C in (0.1, 1.0, 10.0, 100.0)),
        "kernel SVM": tuple({"C": C, "gamma": gamma} for gamma in (0.5, "scale") for C in (1.0, 10.0)),
        "nearest neighbours": tuple({"n_neighbors": n} for n in (1, 3, 5, 9)),
        "prototypes": tuple({"shrinkage": s} for s in (1.0, 0.7, 0.4, 0.1)),
    }
)
"""Four candidate settings a classifier; of equally good ones the first is taken, so simpler ones come first."""

ONE_SHOT: Mapping[str, int] = MappingProxyType(
    {"logistic regression": 1, "linear SVM": 2, "kernel SVM": 1, "nearest neighbours": 0, "prototypes": 0}
)
"""Index into `GRIDS` where a class has one row and nothing can be held out. Chosen on validation rows of both digit
tasks (draws 1000 to 1005): all but logistic regression give the same predictions whatever the setting."""


def classifier(name: str, k: int, *, scaling: str = "unit length", seed: int = 0) -> BaseEstimator:
    """Return an unfitted classifier that chooses among its `GRIDS` by cross-validation inside its training rows.

    Scaling and model form one pipeline, so that each fold's scaler sees that fold's training part only. The
    candidates for nearest neighbours ask for at least nine rows in that part (ten classes have them from k = 2 on).

    Args:
        name: one of `CLASSIFIERS`.
        k: the training rows of the smallest class. With k = 1 nothing can be held out: the setting is `ONE_SHOT`'s.
        scaling: one of `SCALINGS`.
        seed: of the folds.

    Raises:
        ValueError: an unknown name or scaling, or k below 1; the message lists the choices.
    """
    if name not in _MODELS or scaling not in _SCALERS or k < 1:
        raise ValueError(
            f"name={name!r}, scaling={scaling!r}, k={k}: expected one of {CLASSIFIERS}, one of {SCALINGS}, k ≥ 1"
        )
    pipeline = Pipeline([("scale", _SCALERS[scaling]()), ("model", _MODELS[name]())])
    grid = [{f"model__{key}": [value] for key, value in setting.items()} for setting in GRIDS[name]]
    if k == 1:
        return pipeline.set_params(**{key: values[0] for key, values in grid[ONE_SHOT[name]].items()})
    folds = StratifiedKFold(min(FOLDS, k), shuffle=True, random_state=seed)
    return GridSearchCV(pipeline, grid, cv=folds)
