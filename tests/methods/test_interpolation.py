import pytest
import torch
from torch import nn

from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.interpolation import interpolate, reestimate_statistics
from workbook.methods.torch.training import fit


@pytest.fixture
def pair():
    """GlyphNet with a head of three classes, and the same after three steps of training."""
    networks = []
    for _ in range(2):
        torch.manual_seed(0)
        network = load_glyphnet()
        network.head = nn.Linear(128, 3)
        networks.append(network)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(16, 1, 32, 32, generator=generator)
    fit(networks[1], images, torch.arange(16) % 3, steps=3, learning_rate=1e-2, seed=0)
    return networks[0], networks[1], images


def test_ends_are_the_networks(pair):
    first, second, images = pair
    with torch.inference_mode():
        assert torch.equal(interpolate(first, second, 0)(images), first(images))
        assert torch.equal(interpolate(first, second, 1)(images), second(images))


def test_the_middle_is_the_mean_of_weights_and_statistics_and_leaves_both_alone(pair):
    first, second, _ = pair
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in (first, second)]
    between = interpolate(first, second, 0.5)
    assert not between.training
    for name in ("block2.conv1.weight", "stem_bn.running_var", "block3.bn2.running_mean", "head.bias"):
        expected = (before[0][name] + before[1][name]) / 2
        torch.testing.assert_close(between.state_dict()[name], expected)
    assert between.stem_bn.num_batches_tracked == before[1]["stem_bn.num_batches_tracked"]
    for network, state in zip((first, second), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_changing_the_result_does_not_change_the_networks(pair):
    first, second, _ = pair
    between = interpolate(first, second, 1)
    with torch.no_grad():
        between.head.weight.zero_()
    assert second.head.weight.abs().sum() > 0


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_outside_is_refused(pair, alpha):
    with pytest.raises(ValueError, match="from 0 to 1"):
        interpolate(pair[0], pair[1], alpha)


def test_other_heads_are_refused():
    with pytest.raises(ValueError, match=r"differ at 'head\..*749"):
        interpolate(load_glyphnet(), GlyphNet(10), 0.5)


def test_reestimated_statistics_of_one_batch_are_its_own():
    network = GlyphNet(3)
    images = torch.rand(20, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    reestimate_statistics(network, images)
    responses = network.stem(images)
    torch.testing.assert_close(network.stem_bn.running_mean, responses.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(network.stem_bn.running_var, responses.var(dim=(0, 2, 3)), rtol=1e-4, atol=1e-6)
    assert not network.training


def test_reestimation_keeps_parameters_and_momentum_and_forgets_the_past():
    network = load_glyphnet()
    parameters = [p.clone() for p in network.parameters()]
    images = torch.rand(9, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    reestimate_statistics(network, images, batch=4)  # the last batch of one image joins the one before
    once = {name: value.clone() for name, value in network.state_dict().items()}
    reestimate_statistics(network, images, batch=4)
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), parameters, strict=True))
    assert network.stem_bn.momentum == 0.1
    assert all(torch.equal(value, once[name]) for name, value in network.state_dict().items())


def test_one_image_has_no_variance():
    with pytest.raises(ValueError, match="at least 2"):
        reestimate_statistics(GlyphNet(3), torch.rand(1, 1, 32, 32))
