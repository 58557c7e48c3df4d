"""Distillation in Keras, on both of its backends, each in a process of its own; and the PyTorch half of parity."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.parity import run_torch
from workbook.methods.torch.distillation import kd_loss, small_student
from workbook.methods.torch.training import as_images
from workbook.paths import ROOT

SCRIPT = """
import json, tempfile
from pathlib import Path
from workbook import start_keras

start_keras.start(0)
import keras
import numpy as np
from keras import ops
from data_scripts.glyphnet_keras import build_glyphnet, get_tensors, set_tensors
from workbook.methods.keras.distillation import Distiller, kd_loss

facts, random = {"backend": keras.backend.backend()}, np.random.default_rng(0)


def message(work):
    try:
        work()
    except ValueError as error:
        return str(error)
    return ""


# The loss against its formula

z, v = random.normal(0, 3, (2, 6, 5)).astype("float32")
y, weight, T, alpha = np.array([0, 1, -1, 3, 4, -1]), np.array([1, 0, 2, 0.5, 1, 3], "float32"), 3.0, 0.7


def number(tensor):
    return float(ops.convert_to_numpy(tensor))


def log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def by_hand(w):
    p = log_softmax(v / T)
    soft = (np.exp(p) * (p - log_softmax(z / T))).sum(axis=1)
    known = y >= 0
    hard = -log_softmax(z)[np.arange(6), np.maximum(y, 0)]
    return alpha * T**2 * (w * soft).mean() + (1 - alpha) * (w * hard)[known].sum() / 6


facts["loss"] = [number(kd_loss(z, v, y, T, alpha)), float(by_hand(np.ones(6)))]
facts["weighted"] = [number(kd_loss(z, v, y, T, alpha, weight)), float(by_hand(weight))]
facts["no labels"] = [number(kd_loss(z, v, np.full(6, -1), T, alpha)), number(kd_loss(z, v, y, T, 1.0)) * alpha]
facts["classes"] = message(lambda: kd_loss(z, v[:, :4], y, T, alpha))
facts["temperature"] = message(lambda: kd_loss(z, v, y, 0, alpha))

# The distiller

images, labels = random.random((8, 32, 32, 1)).astype("float32"), np.arange(8) % 3
teacher, student = build_glyphnet(3, (4, 6, 8)), build_glyphnet(3, (2, 3, 4))
distiller = Distiller(student, teacher, temperature=2.0, alpha=0.5)
distiller.compile(keras.optimizers.AdamW(1e-2), jit_compile=False)
kept, began = teacher.get_weights(), student.get_weights()
expected = number(kd_loss(student(images, training=False), teacher(images, training=False), labels, 2.0, 0.5))
facts["evaluate"] = [float(distiller.evaluate(images, labels, verbose=0)), expected]
given = {"x": images, "y": labels, "y_pred": student(images), "sample_weight": np.zeros(8)}
facts["weights_heeded"] = number(distiller.compute_loss(**given))
pictures = keras.Input((32, 32, 1))
heavy = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5))(keras.layers.Flatten()(pictures))
penalised = Distiller(keras.Model(pictures, heavy), teacher)
given |= {"y_pred": penalised(images)}
kernel = ops.convert_to_numpy(penalised.student.layers[-1].kernel)
facts["penalty"] = [number(penalised.compute_loss(**given)), float(0.5 * (kernel**2).sum())]
distiller.fit(images, labels, epochs=2, verbose=0)
facts["teacher_unchanged"] = all(np.array_equal(a, b) for a, b in zip(kept, teacher.get_weights()))
facts["teacher_trainable"] = teacher.trainable
facts["student_changed"] = not any(np.array_equal(a, b) for a, b in zip(began, student.get_weights()) if a.ndim > 1)
facts["counts"] = [distiller.count_params(), student.count_params()]
both = [ops.convert_to_numpy(model(images, training=False)) for model in (distiller, student)]
facts["predicts"] = bool(np.allclose(*both, atol=1e-5))
path = Path(tempfile.mkdtemp()) / "student.keras"
student.save(path)
again = keras.saving.load_model(path)
facts["reloads"] = bool(np.array_equal(ops.convert_to_numpy(again(images, training=False)), both[1]))
facts["outputs"] = message(lambda: Distiller(build_glyphnet(4, (2, 3, 4)), teacher))

# Weights to PyTorch's names and back

tensors = get_tensors(student)
other = set_tensors(build_glyphnet(3, (2, 3, 4)), tensors)
facts["round_trip"] = all(np.array_equal(a, b) for a, b in zip(other.get_weights(), student.get_weights()))
facts["shapes"] = {name: list(value.shape) for name, value in tensors.items()}
print(json.dumps(facts))
"""


@pytest.fixture(scope="module", params=["tensorflow", "torch"])
def facts(request):
    """What the script found out on one backend."""
    environment = os.environ | {"KERAS_BACKEND": request.param}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found = json.loads(done.stdout)
    assert found["backend"] == request.param
    return found


@pytest.mark.parametrize("which", ["loss", "weighted", "no labels", "evaluate"])
def test_the_loss_is_its_formula(facts, which):
    ours, expected = facts[which]
    assert ours == pytest.approx(expected, rel=1e-5)


def test_rows_without_a_label_count_as_in_pytorch(facts):
    z, v = torch.from_numpy(np.random.default_rng(0).normal(0, 3, (2, 6, 5)).astype("float32"))
    theirs = kd_loss(z, v, torch.tensor([0, 1, -1, 3, 4, -1]), 3.0, 0.7)
    assert facts["loss"][0] == pytest.approx(theirs.item(), rel=1e-5)


def test_wrong_arguments_are_named(facts):
    assert facts["classes"] == "student logits (6, 5) and teacher logits (6, 4): expected the same classes"
    assert facts["temperature"].startswith("temperature=0, alpha=0.7: expected T > 0")
    assert facts["outputs"] == "student gives (None, 4) and teacher (None, 3): expected the same classes"


def test_sample_weights_are_heeded(facts):
    assert facts["weights_heeded"] == 0


def test_the_students_penalties_are_in_the_loss(facts):
    ours, expected = facts["penalty"]
    assert ours == pytest.approx(expected, rel=1e-5)
    assert expected > 0


def test_only_the_student_learns_and_counts(facts):
    assert facts["teacher_unchanged"]
    assert facts["teacher_trainable"]
    assert facts["student_changed"]
    assert facts["counts"][0] == facts["counts"][1]


def test_the_student_is_the_product(facts):
    assert facts["predicts"]
    assert facts["reloads"]


def test_weights_have_pytorchs_names_and_axes(facts):
    assert facts["round_trip"]
    expected = small_student(0, classes=3, widths=(2, 3, 4)).state_dict()
    shapes = {name: list(value.shape) for name, value in expected.items() if "num_batches" not in name}
    assert facts["shapes"] == shapes


# The PyTorch half of parity


def test_the_torch_process_distils_as_a_loop_here_does():
    random = np.random.default_rng(0)
    images, labels = random.random((16, 32, 32), dtype=np.float32), np.arange(16) % 3
    head = {"weight": random.normal(size=(3, 128)).astype(np.float32), "bias": np.zeros(3, np.float32)}
    network = small_student(0, classes=3)
    arrays = {"images": images, "labels": labels, "order": np.arange(16).reshape(2, 8)}
    arrays |= {f"start.{n}": v.numpy() for n, v in network.state_dict().items() if "num_batches" not in n}
    arrays |= {f"head.{name}": value for name, value in head.items()}
    job = {"students": ["start"], "heads": ["head"], "orders": ["order"], "images": "images", "labels": "labels"}
    job |= {"kind": "distil", "test": "images", "learning_rate": 0.0, "weight_decay": 0.0}
    jobs = {"one": job | {"temperature": 4, "alpha": 0.9}, "hard": job | {"temperature": 1, "alpha": 0}}
    found = run_torch(jobs, arrays)

    with torch.no_grad():
        pictures = as_images(images)[:8]
        features = load_glyphnet().features(pictures)
        soft = features @ torch.from_numpy(head["weight"]).T
        answers = torch.from_numpy(labels[:8])
        z = network.train()(pictures)
        expected = kd_loss(z, soft, answers, 4, 0.9).item(), F.cross_entropy(z, answers).item()
    assert found["one"]["losses"][0, 0] == pytest.approx(expected[0], rel=1e-4)
    assert found["hard"]["losses"][0, 0] == pytest.approx(expected[1], rel=1e-4)
    assert found["one"]["logits"].shape == (1, 16, 3)


def test_a_failing_torch_process_says_so():
    with pytest.raises(RuntimeError, match=r"(?s)the PyTorch process ended with status 1; .*KeyError: 'guess'"):
        run_torch({"wrong": {"kind": "guess"}}, {})
