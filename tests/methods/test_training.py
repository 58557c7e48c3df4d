import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from data_scripts.glyphnet_torch import GlyphNet
from workbook.methods.torch.training import accuracy, as_images, extract_features, fit, random_shift

pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bars(n=40):
    """Horizontal bars (label 0) and vertical bars (label 1), with noise: easy to tell apart."""
    labels = np.arange(n) % 2
    pictures = np.random.default_rng(0).random((n, 32, 32), dtype=np.float32) * 0.3
    pictures[labels == 0, 14:18, 4:28] += 0.7
    pictures[labels == 1, 4:28, 14:18] += 0.7
    return as_images(pictures), torch.from_numpy(labels)


def small_network(seed=0):
    torch.manual_seed(seed)
    first, last = nn.Linear(64, 16), nn.Linear(16, 2)
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), first, nn.BatchNorm1d(16), nn.ReLU(), last)


# as_images


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_arrays_become_images_of_one_channel(make):
    inputs = np.random.default_rng(0).random((3, 32, 32), dtype=np.float32)
    images = as_images(make(inputs))
    assert images.shape == (3, 1, 32, 32)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(images[:, 0].numpy(), inputs)


# random_shift


def test_a_shift_of_one_pixel_repeats_the_edge():
    picture = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    shifted = random_shift(picture.expand(300, 1, 2, 2), 1, seeded())
    assert shifted.shape == (300, 1, 2, 2)
    assert {tuple(x.flatten().int().tolist()) for x in shifted} == {
        *((1, 1, 1, 1), (1, 2, 1, 2), (2, 2, 2, 2)),  # down
        *((1, 1, 3, 3), (1, 2, 3, 4), (2, 2, 4, 4)),
        *((3, 3, 3, 3), (3, 4, 3, 4), (4, 4, 4, 4)),  # up
    }


def test_every_image_has_a_shift_of_its_own_and_channels_move_together():
    images = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(50, 2, 1, 1)
    shifted = random_shift(images, 2, seeded())
    assert torch.equal(shifted[:, 0], shifted[:, 1])
    assert len({x.numpy().tobytes() for x in shifted}) > 10
    assert torch.equal(shifted, random_shift(images, 2, seeded()))
    assert not torch.equal(shifted, random_shift(images, 2, seeded(1)))


def test_no_reach_is_no_shift():
    images, _ = bars(4)
    assert random_shift(images, 0, seeded()) is images


# fit


def loss(network, images, labels):
    with torch.inference_mode():
        return F.cross_entropy(network(images), labels).item()


def test_training_learns_what_can_be_told_apart():
    images, labels = bars()
    network = small_network().eval()
    before = loss(network, images, labels)
    trained = fit(network, images, labels, steps=60, learning_rate=0.01, seed=0)
    assert trained is network
    assert loss(trained, images, labels) < before / 5
    assert accuracy(trained, images, labels) == 1


def test_the_network_comes_back_in_evaluation_mode():
    network = fit(small_network().train(), *bars(), steps=4, learning_rate=0.01, seed=0)
    assert not any(module.training for module in network.modules())


def test_a_seed_gives_one_outcome():
    images, labels = bars()

    def trained(seed):
        network = small_network()
        torch.seed()  # the state of the global generator must not matter
        return fit(network, images, labels, steps=5, learning_rate=0.01, seed=seed, batch=8).state_dict()

    first, again, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["2.weight"], other["2.weight"])


def test_frozen_parameters_stay_as_they_are():
    network = small_network()
    network[2].requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    after = fit(network, *bars(), steps=5, learning_rate=0.1, seed=0, weight_decay=0.5).state_dict()
    assert torch.equal(after["2.weight"], before["2.weight"])
    assert torch.equal(after["2.bias"], before["2.bias"])
    assert not torch.equal(after["5.weight"], before["5.weight"])


class Watched(nn.Module):
    """Keeps the batches that it is given; its answer depends on one parameter."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.seen = []

    def forward(self, images):
        assert self.training
        self.seen.append(images[:, 0, 0, 0].int().tolist())
        return self.weight.expand(len(images), 2)


def test_every_step_follows_the_gradient_of_its_own_batch():
    network = Watched()
    fit(network, bars()[0], torch.zeros(40, dtype=torch.int64), steps=6, learning_rate=0.01, seed=0)
    # Of two equal logits each has a gradient of a half or less; six of them added up would be about three.
    assert 0.3 < network.weight.grad.abs().max() <= 0.5


@pytest.mark.parametrize(("batch", "steps"), [(3, 4), (5, 2), (100, 3)])
def test_every_image_has_its_turn_before_any_comes_again(batch, steps):
    images = as_images(np.arange(10, dtype=np.float32)[:, None, None].repeat(32, 1).repeat(32, 2))
    network = Watched()
    fit(network, images, torch.zeros(10, dtype=torch.int64), steps=steps, learning_rate=0.1, seed=0, batch=batch)
    assert [len(rows) for rows in network.seen] == [min(batch, 10)] * steps
    a_round = [row for rows in network.seen[: 10 // min(batch, 10)] for row in rows]
    assert len(set(a_round)) == len(a_round)


def test_the_shift_is_that_asked_for():
    images = as_images(np.arange(1024, dtype=np.float32).reshape(1, 32, 32).repeat(64, 0))
    corners = {}
    for shift in (0, 1, 2):
        network = Watched()
        fit(network, images, torch.zeros(64, dtype=torch.int64), steps=8, learning_rate=0.1, seed=0, shift=shift)
        corners[shift] = {corner for corners_of_batch in network.seen for corner in corners_of_batch}
    assert corners == {0: {0}, 1: {0, 1, 32, 33}, 2: {32 * row + column for row in range(3) for column in range(3)}}


# accuracy and extract_features


def test_accuracy_is_the_share_of_right_answers_over_all_parts():
    class Reads(nn.Module):
        def forward(self, images):
            assert not self.training
            return F.one_hot(images[:, 0, 0, 0].long(), 4).float()

    answers = torch.arange(600) % 4
    images = answers[:, None, None, None].float().expand(-1, 1, 32, 32)
    labels = answers.clone()
    labels[:150] += 1  # the first 150 of 600 are wrong
    assert accuracy(Reads().train(), images, labels) == 0.75


def test_features_are_those_of_the_network_in_evaluation_mode():
    torch.manual_seed(0)
    network = GlyphNet(classes=3).train()
    images, _ = bars(300)
    features = extract_features(network, images)
    assert features.shape == (300, 128)
    assert not features.requires_grad
    assert not network.training
    with torch.inference_mode():
        torch.testing.assert_close(features[256:], network.features(images[256:]))
    assert torch.equal(network.stem_bn.running_mean, torch.zeros(24)), "extraction learns nothing"
