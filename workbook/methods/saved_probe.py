"""A linear probe on frozen features as a file: weights, scaling, class names, and which features it wants.

The network itself is not in the file: a probe of ten classes on 512 features takes 50 kB, and the backbone is fetched
by its name.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.special import softmax
from sklearn.base import BaseEstimator

SCALINGS = ("as they are", "unit length", "standardised")
"""Of `workbook.methods.features.SCALINGS`, those that a file can hold."""


@dataclass(frozen=True)
class SavedProbe:
    """A linear classifier of features, with all that is needed to use it again.

    Attributes:
        weight: ``(classes, d)``.
        bias: ``(classes,)``.
        mean, deviation: ``(d,)``, subtracted from features and divided out when ``scaling`` is ``"standardised"``.
        scaling: one of `SCALINGS`.
        class_names: in the order of the rows of ``weight``.
        backbone, stage, pooling: whose features it wants, as `workbook.methods.torch.features.stage_features` names
            them.
    """

    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    scaling: str
    class_names: tuple[str, ...]
    backbone: str
    stage: str
    pooling: str

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return the class probabilities ``(n, classes)`` of features ``(n, d)``.

        Raises:
            ValueError: the features have another width.
        """
        if features.ndim != 2 or features.shape[1] != self.weight.shape[1]:
            raise ValueError(
                f"features of shape {features.shape}: expected (n, {self.weight.shape[1]}), {self.pooling} of "
                f"{self.stage} of {self.backbone}"
            )
        rows = np.asarray(features, dtype=np.float64)
        if self.scaling == "standardised":
            rows = (rows - self.mean) / self.deviation
        elif self.scaling == "unit length":
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = rows / np.where(lengths == 0, 1, lengths)
        return softmax(rows @ self.weight.T + self.bias, axis=1)

    def save(self, path: Path | str) -> Path:
        """Write a safetensors file and return its path.

        Raises:
            FileExistsError: there is such a file already.
        """
        path = Path(path)
        if path.exists():
            raise FileExistsError(f"{path} is there already: choose another name")
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS}
        told = {name: getattr(self, name) for name in _TEXTS} | {"class_names": json.dumps(self.class_names)}
        save_file(tensors, path, metadata=told)
        return path


_TENSORS, _TEXTS = ("weight", "bias", "mean", "deviation"), ("scaling", "backbone", "stage", "pooling")


def as_saved(
    fitted: BaseEstimator, *, scaling: str, class_names: tuple[str, ...], backbone: str, stage: str, pooling: str
) -> SavedProbe:
    """Take the numbers out of a fitted logistic regression of `workbook.methods.features.classifier`.

    Args:
        fitted: the pipeline, or the search whose best pipeline is meant; its labels were ``0 … classes - 1``.
        scaling: the one it was made with, one of `SCALINGS`.
        class_names, backbone, stage, pooling: see `SavedProbe`.

    Raises:
        ValueError: another scaling, or as many classes were not fitted as have names.
    """
    pipeline = getattr(fitted, "best_estimator_", fitted)
    model, scaler = pipeline["model"], pipeline["scale"]
    if scaling not in SCALINGS or not np.array_equal(model.classes_, np.arange(len(class_names))):
        raise ValueError(
            f"scaling={scaling!r}, fitted classes {model.classes_.tolist()}, {len(class_names)} names: expected one of "
            f"{SCALINGS} and a name for each of the classes 0, 1, …"
        )
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # two classes: one row of logits, against zeros for the first class
        weight, bias = np.vstack([np.zeros_like(weight), weight]), np.append(0.0, bias)
    mean, deviation = np.zeros(weight.shape[1]), np.ones(weight.shape[1])
    if scaling == "standardised":
        mean, deviation = scaler.mean_, scaler.scale_
    return SavedProbe(weight, bias, mean, deviation, scaling, tuple(class_names), backbone, stage, pooling)


def read_probe(path: Path | str) -> SavedProbe:
    """Read what `SavedProbe.save` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds something else.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there")
    try:
        with safe_open(path, framework="numpy") as stored:
            told = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in _TENSORS}
            texts = {name: told[name] for name in _TEXTS}
            return SavedProbe(**tensors, **texts, class_names=tuple(json.loads(told["class_names"])))
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} holds no probe ({error})") from error
