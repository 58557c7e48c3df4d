import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from workbook.methods import alignment
from workbook.methods.torch.deep_alignment import (
    METHODS,
    WEIGHTS,
    DomainClassifier,
    adapt,
    certainty,
    coral_loss,
    domain_loss,
    median_width,
    mk_mmd_loss,
    outer_features,
    reversal_schedule,
    reverse_gradient,
    start_network,
)
from workbook.methods.torch.domains import DomainPair, train_source
from workbook.methods.torch.training import as_images

pytestmark = pytest.mark.usefixtures("one_thread")


def batches(seed=0, n=12, m=9, d=5):
    generator = torch.Generator().manual_seed(seed)
    make = {"generator": generator, "dtype": torch.float64}
    return torch.randn(n, d, **make), torch.randn(m, d, **make) * 1.5 + 0.3


@pytest.fixture(scope="module")
def pair():
    """Two domains of ten noisy pictures a class: the target is the source, darker."""
    chance = np.random.default_rng(0)
    labels = np.arange(60) % 10
    pictures = chance.random((10, 32, 32))[labels] * 0.8 + chance.random((60, 32, 32)) * 0.2
    images, labels = as_images(pictures.astype(np.float32)), torch.from_numpy(labels)
    dark = images * 0.5
    return DomainPair("toy", images, labels, images, labels, dark, dark, labels, dark, labels)


# The terms


def test_coral_is_its_formula():
    source, target = batches()
    difference = np.cov(source.numpy().T) - np.cov(target.numpy().T)
    assert coral_loss(source, target).item() == pytest.approx((difference**2).sum() / (4 * 5**2), rel=1e-12)


def test_coral_ignores_means_and_vanishes_on_equal_covariances():
    source, target = batches()
    assert coral_loss(source + 100, target).item() == pytest.approx(coral_loss(source, target).item(), rel=1e-9)
    assert coral_loss(source, source + 3).item() == pytest.approx(0, abs=1e-20)


def test_mmd_is_the_double_loop():
    source, target = batches(n=6, m=4)
    factors, width = (0.5, 2.0), 1.3

    def k(a, b):
        return np.mean([math.exp(-float(((a - b) ** 2).sum()) / (2 * (f * width) ** 2)) for f in factors])

    within = [
        np.mean([k(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j])
        for rows in (source, target)
    ]
    across = np.mean([k(a, b) for a in source for b in target])
    found = mk_mmd_loss(source, target, factors=factors, width=width)
    assert found.item() == pytest.approx(sum(within) - 2 * across, abs=1e-12)


def test_mmd_agrees_with_the_numpy_version():
    source, target = batches()
    widths = alignment.kernel_widths(source.numpy(), target.numpy())
    expected = alignment.mmd2_unbiased(source.numpy(), target.numpy(), widths)
    assert mk_mmd_loss(source, target).item() == pytest.approx(expected, abs=1e-12)


def test_the_width_carries_no_gradient():
    source, target = batches()
    source.requires_grad_()
    assert not median_width(source, target).requires_grad
    free, held = (
        torch.autograd.grad(mk_mmd_loss(source, target, width=width), source)[0]
        for width in (None, median_width(source, target).item())
    )
    assert torch.allclose(free, held, atol=1e-12)


@pytest.mark.parametrize("term", [coral_loss, mk_mmd_loss])
def test_terms_have_the_right_gradient(term):
    source, target = batches(n=4, m=5, d=3)
    kwargs = {"width": 1.5} if term is mk_mmd_loss else {}
    assert torch.autograd.gradcheck(
        lambda a, b: term(a, b, **kwargs), (source.requires_grad_(), target.requires_grad_())
    )


@pytest.mark.parametrize("term", [coral_loss, mk_mmd_loss])
@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((4,), (4,)), ((1, 3), (4, 3))])
def test_unfit_batches_are_refused(term, shapes):
    with pytest.raises(ValueError, match="same d and two rows"):
        term(*(torch.zeros(shape) for shape in shapes))


# Gradient reversal, the domain classifier, CDAN's parts


def test_reversal_is_the_identity_forward_and_minus_strength_backward():
    x = torch.randn(3, 4, requires_grad=True)
    weights = torch.randn(3, 4)
    y = reverse_gradient(x, 0.3)
    assert torch.equal(y, x)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    assert torch.allclose(gradient, -0.3 * weights)


def test_the_domain_classifier_itself_learns_forwards():
    torch.manual_seed(0)
    judge, source, target = DomainClassifier(4), torch.randn(5, 4), torch.randn(6, 4) + 1
    plain, behind = (
        torch.autograd.grad(domain_loss(judge(way(source)), judge(way(target))), list(judge.parameters()))
        for way in (lambda h: h, lambda h: reverse_gradient(h, 0.2))
    )
    assert all(torch.equal(a, b) for a, b in zip(plain, behind, strict=True))


def test_schedule_ends_middle_and_order():
    values = [reversal_schedule(p) for p in np.linspace(0, 1, 101)]
    assert values[0] == 0
    assert values[-1] == pytest.approx(math.tanh(5))
    assert values[50] == pytest.approx((1 - math.exp(-5)) / (1 + math.exp(-5)))
    assert (np.diff(values) > 0).all()
    for outside in (-0.1, 1.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            reversal_schedule(outside)


def test_domain_loss_is_the_balanced_cross_entropy():
    source, target = torch.randn(4), torch.randn(9)
    expected = F.binary_cross_entropy_with_logits(source, torch.zeros(4)) / 2
    expected = expected + F.binary_cross_entropy_with_logits(target, torch.ones(9)) / 2
    assert torch.allclose(domain_loss(source, target), expected)
    assert torch.allclose(domain_loss(source, target, torch.ones(4), torch.ones(9)), expected)


def test_outer_features_are_outer_products():
    features, probabilities = torch.randn(3, 4), torch.rand(3, 2)
    found = outer_features(features, probabilities)
    assert found.shape == (3, 8)
    for row in range(3):
        assert torch.allclose(found[row], torch.outer(probabilities[row], features[row]).flatten())


def test_certain_rows_count_more():
    weights = certainty(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    assert weights.mean().item() == pytest.approx(1)
    assert (weights[0] / weights[1]).item() == pytest.approx(2 / 1.5)  # e^(−H) is 1 and ½


# adapt


@pytest.mark.parametrize("method", METHODS)
def test_every_method_returns_a_network_in_evaluation_mode(pair, method):
    steps = []
    network = adapt(pair, method, seed=0, steps=2, batch=8, watch=lambda step, *_: steps.append(step))
    assert not network.training
    assert network(pair.source_images[:3]).shape == (3, 10)
    assert steps == [0, 1]
    again = adapt(pair, method, seed=0, steps=2, batch=8)
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_source_only_with_adamw_is_the_common_loop(pair):
    ours = adapt(pair, "source only", seed=3, steps=4, learning_rate=3e-3, optimiser="AdamW")
    common = train_source(pair, seed=3, steps=4)
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), common.state_dict().values(), strict=True))


@pytest.mark.parametrize("method", ["deep CORAL", "DAN"])
def test_without_weight_and_apart_only_running_statistics_differ(pair, method):
    setting = {"seed": 0, "steps": 3, "batch": 8}
    alone = adapt(pair, "source only", **setting)
    control = adapt(pair, method, weight=0.0, batch_norm="separate", **setting)
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), control.parameters(), strict=True))
    assert not torch.equal(alone.stem_bn.running_mean, control.stem_bn.running_mean)


def test_target_rows_reach_the_features_through_the_term(pair):
    found = {w: adapt(pair, "DANN", seed=0, steps=4, batch=8, weight=w, batch_norm="separate") for w in (0.0, 1.0)}
    assert not torch.equal(found[0.0].block3.conv2.weight, found[1.0].block3.conv2.weight)


def test_watch_sees_the_losses_and_may_evaluate(pair):
    seen = []

    def watch(step, network, terms):
        network.eval()
        seen.append(dict(terms))

    adapt(pair, "CDAN", seed=0, steps=3, batch=8, weight=0.5, entropy_conditioning=True, watch=watch)
    assert [s["strength"] for s in seen] == [0.5 * reversal_schedule(p) for p in (0, 0.5, 1)]
    assert all(0 <= s["accuracy"] <= 1 and s["task"] > 0 for s in seen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "MMD"}, "'deep CORAL'"),
        ({"start": "zero"}, "'scratch'"),
        ({"optimiser": "Adam"}, "'AdamW'"),
        ({"batch_norm": "none"}, "'separate'"),
        ({"policy": "none"}, "last-block"),
    ],
)
def test_unknown_settings_are_refused(pair, change, message):
    with pytest.raises(ValueError, match=message):
        adapt(pair, **({"method": "DAN", "seed": 0} | change))


def test_scratch_is_not_the_letters():
    assert not torch.equal(start_network("scratch", seed=0).stem.weight, start_network("letters", seed=0).stem.weight)
    assert set(WEIGHTS) == set(METHODS)
