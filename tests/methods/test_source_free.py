import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.source_free import (
    adabn,
    centroid_labels,
    diversity,
    entropy,
    information_loss,
    pseudo_labels,
    self_training,
    shot,
    tent,
    tent_stream,
)


def three_class_network(seed=0):
    torch.manual_seed(seed)
    network = load_glyphnet()
    network.head = nn.Linear(128, 3)
    return network


@pytest.fixture
def network():
    return three_class_network()


@pytest.fixture
def images():
    return torch.rand(24, 1, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def logits():
    return torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_entropy_is_that_of_the_distribution(logits):
    torch.testing.assert_close(entropy(logits), torch.distributions.Categorical(logits=logits).entropy())
    assert entropy(torch.zeros(1, 5)).item() == pytest.approx(math.log(5))
    assert entropy(torch.tensor([[1000.0, 0.0]])).item() == 0


def test_gradient_of_entropy_is_the_formula(logits):
    logits.requires_grad_()
    entropy(logits).sum().backward()
    p = logits.detach().softmax(1)
    formula = -p * (p.log() + entropy(logits.detach())[:, None])
    torch.testing.assert_close(logits.grad, formula)


def test_information_loss_is_minus_the_mutual_information(logits):
    p = logits.softmax(1)
    joint = p / len(p)
    mutual = (joint * (joint / (joint.sum(0, keepdim=True) * joint.sum(1, keepdim=True))).log()).sum()
    torch.testing.assert_close(information_loss(logits), -mutual)
    assert diversity(logits) >= entropy(logits).mean()


def test_ends_of_the_information_loss():
    sure_and_even = 1000 * torch.eye(5)
    assert information_loss(sure_and_even).item() == pytest.approx(-math.log(5))
    collapsed = torch.tensor([[1000.0, 0, 0, 0, 0]]).repeat(4, 1)
    assert information_loss(collapsed).item() == 0
    assert information_loss(collapsed, diversity_weight=0).item() == 0


def test_centroids_correct_a_head_that_prefers_one_class():
    chance = torch.Generator().manual_seed(3)
    truth = torch.arange(60) % 3
    features = 4 * torch.eye(3)[truth] + 0.3 * torch.randn(60, 3, generator=chance)
    probabilities = (0.5 * features + torch.tensor([3.0, 0, 0])).softmax(1)
    assert (probabilities.argmax(1) == truth).double().mean() < 0.5
    assert torch.equal(centroid_labels(features, probabilities), truth)


def test_a_class_that_nobody_takes_does_no_harm():
    features = torch.eye(2).repeat(3, 1)
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]).repeat(3, 1)
    assert centroid_labels(features, probabilities).tolist() == [0, 1] * 3


def test_adabn_holds_the_population_statistics(network, images):
    adapted = adabn(network, images)
    responses = network.stem(images).detach()
    torch.testing.assert_close(adapted.stem_bn.running_mean, responses.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(adapted.stem_bn.running_var, responses.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    trained = copy.deepcopy(network).train()
    with torch.no_grad():  # one batch of everything: evaluation gives what training mode gives, but for n against n − 1
        torch.testing.assert_close(adapted(images), trained(images), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    "adapt",
    [
        adabn,
        lambda n, x: tent(n, x, batch=8),
        lambda n, x: self_training(n, x, seed=0, threshold=0, rounds=1, steps=2),
        lambda n, x: shot(n, x, seed=0, epochs=1, batch=8),
    ],
    ids=["adabn", "tent", "self_training", "shot"],
)
def test_the_given_network_stays_as_it_is(adapt, network, images, one_thread):
    before = copy.deepcopy(network.state_dict())
    adapted = adapt(network, images)
    again = adapt(network, images)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module.training for module in adapted.modules())
    assert all(parameter.requires_grad for parameter in adapted.parameters())
    assert not torch.equal(adapted.stem_bn.running_mean, before["stem_bn.running_mean"])
    with torch.inference_mode():
        assert torch.equal(adapted(images), again(images))


def changed(adapted, network):
    after = dict(adapted.named_parameters())
    return {name for name, parameter in network.named_parameters() if not torch.equal(parameter, after[name])}


def test_tent_moves_scales_and_offsets_and_nothing_else(network, images):
    moved = changed(tent(network, images, batch=8), network)
    norms = {name for name, _ in network.named_parameters() if "bn" in name or ".shortcut.1." in name}
    assert moved == norms


def test_tent_lowers_the_entropy_of_what_it_repeats(network, images):
    first, _ = tent_stream(network, images, batch=24)
    last, _ = tent_stream(network, images, batch=24, steps=10)
    assert entropy(last).mean() < entropy(first).mean()


def test_episodic_tent_with_one_step_only_uses_the_batch_statistics(network, images, one_thread):
    predicted, _ = tent_stream(network, images, batch=8, episodic=True)
    trained = copy.deepcopy(network).train()
    with torch.no_grad():
        expected = torch.cat([trained(part) for part in images.split(8)])
    assert torch.equal(predicted, expected)


def test_the_last_picture_joins_the_batch_before(network, images):
    predicted, _ = tent_stream(network, images[:9], batch=4)
    assert predicted.shape == (9, 3)


def test_shot_keeps_the_head(network, images):
    moved = changed(shot(network, images, seed=0, epochs=1, batch=8), network)
    assert moved == {name for name, _ in network.named_parameters() if not name.startswith("head.")}


def test_shot_with_the_information_alone_raises_it(network, images):
    adapted = shot(network, images, seed=0, epochs=5, batch=24, pseudo_weight=0, shift=0)
    with torch.inference_mode():
        assert information_loss(adapted(images)) < information_loss(network(images))


def test_self_training_without_confident_answers_changes_nothing(network, images):
    confidence = pseudo_labels(network, images)[1].max().item()
    adapted = self_training(network, images, seed=0, threshold=(1 + confidence) / 2)
    assert not changed(adapted, network)


def test_self_training_trains_towards_its_own_answers(network, images):
    start = adabn(network, images)
    labels, _ = pseudo_labels(start, images)
    adapted = self_training(start, images, seed=0, threshold=0, rounds=1, steps=40, shift=0)
    with torch.inference_mode():
        assert F.cross_entropy(adapted(images), labels) < F.cross_entropy(start(images), labels)


def test_settings_that_make_no_sense_are_refused(network, images):
    with pytest.raises(ValueError, match=r"threshold=1.*below 1"):
        self_training(network, images, seed=0, threshold=1)
    with pytest.raises(ValueError, match="at least 2 images"):
        tent(network, images[:1])
    with pytest.raises(ValueError, match="at least 2"):
        shot(network, images[:1], seed=0)
    with pytest.raises(ValueError, match="nothing to train"):
        tent(nn.Linear(2, 2), images)
