import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.parity import run_keras
from workbook.methods.torch.training import as_images

STEPS = 5
RATE = 2e-4


@pytest.fixture(scope="module")
def task():
    generator = np.random.default_rng(0)
    images = generator.random((40, 32, 32), dtype=np.float32)
    labels = np.arange(40) % 4
    order = np.stack([generator.permutation(40)[:8] for _ in range(STEPS)])
    torch.manual_seed(0)
    return images, labels, order, nn.Linear(128, 4)


@pytest.fixture(scope="module")
def keras_results(task):
    """Everything that the tests ask of Keras, in one process."""
    images, labels, order, head = task
    arrays = {"images": images[..., None], "labels": labels, "order": order}
    arrays |= {f"head.{name}": value.detach().numpy() for name, value in head.named_parameters()}
    adamw = {"name": "AdamW", "learning_rate": RATE, "weight_decay": 0.01, "epsilon": 1e-8}
    runs = {"heads": ["head", "head"], "orders": ["order", "order"], "test": "images", "images": "images"}
    jobs = {
        "train": {"kind": "train", "labels": "labels", "optimiser": adamw, **runs},
        "matched": {"kind": "logits", "head": "head", "images": "images"},
        "padded.same": {"kind": "logits", "head": "head", "images": "images", "conventions": {"same": True}},
    }
    return run_keras(jobs, arrays)


def network(head):
    net = load_glyphnet()
    net.head = nn.Linear(128, 4)
    net.head.load_state_dict(head.state_dict())
    return net


def test_the_same_weights_give_the_same_logits(task, keras_results):
    images, _, _, head = task
    with torch.inference_mode():
        ours = network(head)(as_images(images)).numpy()
    np.testing.assert_allclose(keras_results["matched"]["logits"], ours, atol=1e-4)
    assert np.abs(keras_results["padded.same"]["logits"] - ours).max() > 0.1


def test_the_same_batches_give_the_same_losses(task, keras_results):
    images, labels, order, head = task
    net, pictures, answers = network(head).train(), as_images(images), torch.from_numpy(labels)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    losses = []
    for rows in order:
        loss = F.cross_entropy(net(pictures[rows]), answers[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    np.testing.assert_allclose(keras_results["train"]["losses"][0], losses, atol=1e-3)


def test_every_run_of_a_job_begins_at_the_start(keras_results):
    first, second = keras_results["train"]["losses"]
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_failing_process_is_an_error_with_its_last_words():
    with pytest.raises(RuntimeError, match=r"(?s)status 1; its last words:.*KeyError: 'guess'"):
        run_keras({"wrong": {"kind": "guess"}}, {})
