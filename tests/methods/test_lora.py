import copy

import pytest
import torch
from torch import nn

from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.lora import LowRank, add_lora, merge_lora
from workbook.methods.torch.training import fit


def three_classes():
    torch.manual_seed(0)
    network = load_glyphnet()
    network.head = nn.Linear(128, 3)
    return network, torch.rand(12, 1, 32, 32), torch.arange(12) % 3


def test_before_any_step_nothing_has_changed():
    network, images, _ = three_classes()
    before = network(images)
    add_lora(network, 4)
    torch.testing.assert_close(network(images), before, rtol=0, atol=0)


def test_only_updates_and_head_train():
    network, images, labels = three_classes()
    trains = add_lora(network, 4)
    assert {name.split(".")[-2] for name in trains if not name.startswith("head.")} == {"A", "B"}
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fit(network, images, labels, steps=3, learning_rate=1e-2, seed=0)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(trains)


def test_parameters_number_rank_times_in_plus_out():
    network, _, _ = three_classes()
    names = add_lora(network, 3, layers=["block2.conv1", "block3.shortcut.0"])
    sizes = {name: p.numel() for name, p in network.named_parameters() if name in names and "head" not in name}
    assert sum(sizes.values()) == 3 * (24 * 9 + 64) + 3 * (64 + 128)


def test_merged_and_unmerged_agree_and_merged_is_a_plain_network():
    network, images, labels = three_classes()
    names = list(load_glyphnet().state_dict())
    add_lora(network, 4)
    fit(network, images, labels, steps=5, learning_rate=3e-2, seed=0)
    merged = merge_lora(copy.deepcopy(network))
    with torch.inference_mode():
        torch.testing.assert_close(merged(images), network(images), rtol=1e-4, atol=1e-5)
    assert list(merged.state_dict()) == names
    change = merged.block3.conv2.weight - three_classes()[0].block3.conv2.weight
    assert torch.linalg.matrix_rank(change.detach().flatten(1), rtol=1e-4) == 4


@pytest.mark.parametrize(
    ("layer", "images"),
    [
        (nn.Conv2d(5, 6, 3, stride=2, padding=1), torch.randn(2, 5, 8, 8)),
        (nn.Linear(5, 6), torch.randn(2, 5)),
    ],
    ids=["convolution", "linear"],
)
def test_the_layer_plus_its_update_is_the_merged_layer(layer, images):
    adapted = LowRank(layer, 2, alpha=4)
    nn.init.normal_(adapted.B.weight)
    before = layer.weight.clone()
    apart = adapted(images)
    torch.testing.assert_close(adapted.merged()(images), apart, rtol=1e-4, atol=1e-4)
    change = (layer.weight - before).detach().flatten(1)
    torch.testing.assert_close(change, 4 / 2 * adapted.B.weight.flatten(1) @ adapted.A.weight.flatten(1))
    assert torch.linalg.matrix_rank(change, rtol=1e-4) == 2


@pytest.mark.parametrize("rank", [0, 7])
def test_a_rank_out_of_range_is_refused(rank):
    with pytest.raises(ValueError, match=rf"rank={rank}.*from 1 to 6"):
        LowRank(nn.Conv2d(5, 6, 3), rank, alpha=1)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=2)])
def test_other_layers_are_refused(layer):
    with pytest.raises(TypeError, match="expected a linear layer or a convolution without groups"):
        LowRank(layer, 1, alpha=1)


def test_a_refused_rank_leaves_the_network_alone():
    network, _, _ = three_classes()
    with pytest.raises(ValueError, match="rank=25"):
        add_lora(network, 25)
    assert all(p.requires_grad for p in network.parameters())
    add_lora(network, 2)
    with pytest.raises(ValueError, match="merge_lora first"):
        add_lora(network, 2)
