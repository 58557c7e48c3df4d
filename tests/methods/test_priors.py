import pytest
import torch
from torch import nn

from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.policies import apply_policy
from workbook.methods.torch.priors import discriminative_groups, fit_head_first, l2_sp
from workbook.methods.torch.training import fit


def three_classes():
    torch.manual_seed(0)
    network = load_glyphnet()
    network.head = nn.Linear(128, 3)
    return network, torch.rand(12, 1, 32, 32), torch.arange(12) % 3


def backbone(network):
    return {n: v.detach().clone() for n, v in network.named_parameters() if not n.startswith("head.")}


def distance(network, start):
    return sum((p - start[n]).square().sum() for n, p in network.named_parameters() if n in start).item()


# l2_sp


def test_the_penalty_is_half_alpha_times_the_squared_distance():
    network, _, _ = three_classes()
    penalty = l2_sp(network, 0.5)
    assert penalty(network).item() == 0
    with torch.no_grad():
        network.stem.weight[0, 0, 0, 0] += 3
        network.head.weight += 100  # the head has no start to stay near
    assert penalty(network).item() == pytest.approx(0.5 / 2 * 9, rel=1e-5)


def test_its_gradient_is_alpha_times_the_difference():
    network, _, _ = three_classes()
    penalty = l2_sp(network, 0.5)
    with torch.no_grad():
        network.block1.conv1.weight += 2
    penalty(network).backward()
    torch.testing.assert_close(network.block1.conv1.weight.grad, torch.ones_like(network.block1.conv1.weight))
    assert network.head.weight.grad is None


def test_a_strong_penalty_keeps_the_backbone_nearer():
    moved = []
    for alpha in (0.0, 10.0):
        network, images, labels = three_classes()
        start = backbone(network)
        fit(network, images, labels, steps=8, learning_rate=3e-3, seed=0, penalty=l2_sp(network, alpha))
        moved.append(distance(network, start))
    assert moved[1] < 0.5 * moved[0]


def test_frozen_parameters_are_left_out_and_none_at_all_is_zero():
    network, _, _ = three_classes()
    apply_policy(network, "head")
    assert l2_sp(network, 1.0)(network).item() == 0


def test_a_negative_alpha_is_refused():
    with pytest.raises(ValueError, match=r"alpha=-1.*expected 0 or more"):
        l2_sp(three_classes()[0], -1)


# discriminative_groups


def test_every_stage_has_its_rate_and_every_parameter_its_group():
    network, _, _ = three_classes()
    groups = discriminative_groups(network, 0.01, 0.5)
    assert [group["lr"] for group in groups] == pytest.approx([0.01, 0.005, 0.0025, 0.00125, 0.000625])
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in network.parameters())


def test_a_frozen_stage_has_no_group():
    network, _, _ = three_classes()
    apply_policy(network, "last-block")
    assert [group["lr"] for group in discriminative_groups(network, 0.01, 0.1)] == pytest.approx([0.01, 0.001])


@pytest.mark.parametrize("decay", [0, -0.5, 1.5])
def test_a_decay_outside_its_range_is_refused(decay):
    with pytest.raises(ValueError, match="more than 0 and at most 1"):
        discriminative_groups(three_classes()[0], 0.01, decay)


def test_lower_stages_move_less():
    network, images, labels = three_classes()
    start = backbone(network)
    fit(
        network,
        images,
        labels,
        steps=4,
        learning_rate=0.0,
        seed=0,
        parameters=discriminative_groups(network, 3e-3, 0.1),
    )
    change = {name: (value - start[name]).abs().mean() for name, value in backbone(network).items()}
    assert change["stem.weight"] < 0.1 * change["block2.conv1.weight"] < 0.1 * change["block3.conv2.weight"]


# fit_head_first


def test_without_a_second_part_only_the_head_has_changed():
    network, images, labels = three_classes()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match="positive integer"):  # the scheduler wants at least one step
        fit_head_first(network, images, labels, head_steps=3, steps=0, head_rate=0.01, learning_rate=1e-3, seed=0)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}


def test_afterwards_everything_has_trained():
    network, images, labels = three_classes()
    before = {name: value.clone() for name, value in network.named_parameters()}
    fit_head_first(network, images, labels, head_steps=2, steps=2, head_rate=0.01, learning_rate=1e-3, seed=0)
    assert all(not torch.equal(value, before[name]) for name, value in network.named_parameters())
    assert not network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
