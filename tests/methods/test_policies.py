import pytest
import torch
from torch import nn

from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.policies import GROUPS, POLICIES, apply_policy, gradual, train_mode
from workbook.methods.torch.training import fit


def count(network):
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def test_policies_are_ordered_from_few_to_all_parameters():
    network = load_glyphnet()
    counts = []
    for policy in POLICIES:
        apply_policy(network, policy)
        counts.append(count(network))
    assert counts == sorted(counts)
    assert counts[-1] == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_changes_what_it_trains_and_nothing_else(policy):
    network = load_glyphnet()
    network.head = nn.Linear(128, 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trains = set(apply_policy(network, policy))
    images, labels = torch.rand(12, 1, 32, 32), torch.arange(12) % 3
    fit(network, images, labels, steps=2, learning_rate=1e-2, seed=0)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert trains <= changed
    layers = {name.rpartition(".")[0] for name in trains}
    assert {name.rpartition(".")[0] for name in changed} == layers


def test_an_unknown_policy_lists_the_choices():
    with pytest.raises(ValueError, match=r"unknown policy 'heads'.*last-block"):
        apply_policy(load_glyphnet(), "heads")


def test_norms_without_parameters_follow_the_network():
    network = nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.BatchNorm1d(3).requires_grad_(False))
    train_mode(network)
    assert [norm.training for norm in network] == [True, False]


def test_gradual_unfreezing_lets_layers_in_from_the_head_down():
    network = load_glyphnet()
    before_step = gradual(network, 8, share=0.5)
    seen = []
    for step in range(8):
        before_step(step)
        seen.append({name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad})
    assert seen[:5] == [set(sum(GROUPS[: i + 1], ())) for i in range(5)]
    assert all(groups == seen[4] for groups in seen[4:])
    assert count(network) == sum(p.numel() for p in network.parameters())


def test_gradual_unfreezing_changes_a_layer_only_once_it_trains():
    network = load_glyphnet()
    network.head = nn.Linear(128, 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images, labels = torch.rand(12, 1, 32, 32), torch.arange(12) % 3
    call = gradual(network, 40)
    # Of 40 steps the first 6 train the head and block3 (from step 5) alone.
    fit(network, images, labels, steps=6, learning_rate=1e-2, seed=0, parameters=network.parameters(), before_step=call)
    changed = {
        name.split(".")[0] for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"head", "block3"}


def test_gradual_wants_a_share():
    with pytest.raises(ValueError, match="share=2"):
        gradual(load_glyphnet(), 10, share=2)
