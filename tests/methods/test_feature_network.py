"""A head of two layers over cached features, adapted to another domain."""

import pytest
import torch

from workbook.methods.torch.feature_network import METHODS, FeatureNetwork, adapted_head
from workbook.methods.torch.source_free import shot


@pytest.fixture
def domains():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    centres = 4 * torch.eye(3, 8)[labels]
    source = centres + 0.5 * torch.randn(90, 8, generator=generator)
    target = centres + 0.5 * torch.randn(90, 8, generator=generator) + 0.5
    return source, labels, target


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_the_task(domains, method):
    _, labels, target = domains
    network = adapted_head(*domains, method, classes=3, seed=0, steps=60, learning_rate=1e-2)
    assert not network.training
    assert (network(target).argmax(1) == labels).double().mean() > 0.9


def test_the_seed_fixes_the_network_and_a_weight_of_zero_is_the_source_alone(domains):
    settings = {"classes": 3, "seed": 1, "steps": 20}
    plain = adapted_head(*domains, "source only", **settings)
    for method in ("source only", "deep CORAL", "DAN"):
        other = adapted_head(*domains, method, weight=0.0, **settings)
        torch.testing.assert_close(other(domains[2]), plain(domains[2]))


def test_an_unknown_method_is_refused(domains):
    with pytest.raises(ValueError, match="expected one of 'source only'"):
        adapted_head(*domains, "CDAN", classes=3, seed=0)


def test_shot_takes_it_and_leaves_the_head_alone(domains):
    network = adapted_head(*domains, "source only", classes=3, seed=0, steps=60)
    moved = shot(network, domains[2], seed=0, shift=0, epochs=3)
    assert isinstance(moved, FeatureNetwork)
    torch.testing.assert_close(moved.head.weight, network.head.weight)
    assert not torch.equal(moved.layer.weight, network.layer.weight)
