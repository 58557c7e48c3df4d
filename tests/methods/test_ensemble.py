"""Networks trained side by side come out as networks trained alone."""

import copy

import pytest
import torch

from data_scripts.glyphnet_torch import GlyphNet
from workbook.methods.torch.ensemble import Ensemble
from workbook.methods.torch.training import accuracy, fit

MEMBERS, ROWS = 3, 6


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return [GlyphNet(4, widths=(4, 8, 8)) for _ in range(MEMBERS)]


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(MEMBERS, ROWS, 1, 32, 32, generator=generator)
    return images, torch.randint(0, 4, (MEMBERS, ROWS), generator=generator)


def test_each_member_ends_where_it_would_alone(networks, rows):
    images, labels = rows
    alone = [copy.deepcopy(network) for network in networks]
    # One batch holds all rows and nothing is shifted, so both have the same batches whatever their random numbers.
    same = {"steps": 3, "learning_rate": 1e-3, "seed": 0, "shift": 0, "batch": ROWS}
    for network, x, y in zip(alone, images, labels, strict=True):
        fit(network, x, y, **same)

    ensemble = Ensemble(networks)
    ensemble.fit(images, labels, **same)

    for member, network in enumerate(alone):
        for name, parameter in network.named_parameters():
            assert torch.allclose(ensemble.parameters[name][member], parameter, atol=1e-4), name
        for name, buffer in network.named_buffers():
            assert torch.allclose(ensemble.buffers[name][member].float(), buffer.float(), atol=1e-4), name


def test_members_differ_by_their_rows(networks, rows):
    images, labels = rows
    ensemble = Ensemble([copy.deepcopy(networks[0]) for _ in range(MEMBERS)])
    ensemble.fit(images, labels, steps=2, learning_rate=1e-3, seed=0)

    head = ensemble.parameters["head.weight"]
    assert not torch.allclose(head[0], head[1])
    assert not torch.allclose(head[1], head[2])


def test_accuracy_is_each_members_own(networks, rows):
    images, labels = rows[0][0], rows[1][0]
    expected = [accuracy(copy.deepcopy(network), images, labels) for network in networks]
    assert Ensemble(networks).accuracy(images, labels).tolist() == pytest.approx(expected)
