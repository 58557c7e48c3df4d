"""A probe comes back from its file as it went in, and answers as scikit-learn's does."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from workbook.methods.features import classifier
from workbook.methods.saved_probe import SCALINGS, as_saved, read_probe

WHERE = {"backbone": "glyphnet", "stage": "block3", "pooling": "average"}


def blobs(classes):
    generator = np.random.default_rng(0)
    labels = np.arange(60) % classes
    return 3 * np.eye(5)[labels] + generator.normal(size=(60, 5)) + 2, labels


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("k", [1, 20])
def test_a_probe_answers_as_the_pipeline_that_it_was(tmp_path, scaling, classes, k):
    rows, labels = blobs(classes)
    fitted = classifier("logistic regression", k, scaling=scaling).fit(rows, labels)
    names = ("ant", "蜜蜂", "c")[:classes]
    path = as_saved(fitted, scaling=scaling, class_names=names, **WHERE).save(tmp_path / "probe.safetensors")
    probe = read_probe(path)
    assert (probe.class_names, probe.backbone, probe.stage, probe.pooling) == (names, *WHERE.values())
    np.testing.assert_allclose(probe.probabilities(rows), fitted.predict_proba(rows), atol=1e-10)


def test_a_row_of_zeros_gets_an_answer():
    rows, labels = blobs(3)
    fitted = classifier("logistic regression", 1).fit(rows, labels)
    probe = as_saved(fitted, scaling="unit length", class_names=("a", "b", "c"), **WHERE)
    assert np.isfinite(probe.probabilities(np.zeros((1, 5)))).all()


def test_what_does_not_fit_is_refused(tmp_path):
    rows, labels = blobs(3)
    fitted = classifier("logistic regression", 1, scaling="contrast").fit(rows, labels)
    with pytest.raises(ValueError, match="scaling='contrast'"):
        as_saved(fitted, scaling="contrast", class_names=("a", "b", "c"), **WHERE)
    with pytest.raises(ValueError, match="2 names"):
        as_saved(fitted, scaling="unit length", class_names=("a", "b"), **WHERE)
    probe = as_saved(fitted, scaling="unit length", class_names=("a", "b", "c"), **WHERE)
    with pytest.raises(ValueError, match=r"expected \(n, 5\), average of block3 of glyphnet"):
        probe.probabilities(np.ones((2, 4)))
    probe.save(tmp_path / "probe.safetensors")
    with pytest.raises(FileExistsError, match="there already"):
        probe.save(tmp_path / "probe.safetensors")


def test_a_file_that_is_no_probe_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not there"):
        read_probe(tmp_path / "none.safetensors")
    save_file({"weight": np.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="holds no probe"):
        read_probe(tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(ValueError, match="holds no probe"):
        read_probe(tmp_path / "text.safetensors")
