import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.heads import (
    CosineHead,
    Standardised,
    f1_score,
    fit_head,
    mlp_head,
    multi_hot,
    multi_label_loss,
    predict_labels,
    r_squared,
    regression_loss,
)
from workbook.methods.torch.training import fit


def test_cosine_logits_ignore_the_length_of_features_and_weights():
    torch.manual_seed(0)
    head, h = CosineHead(8, 3, scale=10.0), torch.randn(5, 8)
    logits = head(h)
    assert logits.shape == (5, 3)
    assert logits.abs().max() <= 10.0
    assert torch.allclose(head(7 * h), logits, atol=1e-5)
    expected = 10 * F.cosine_similarity(h[:, None], head.weight[None], dim=2)
    assert torch.allclose(logits, expected, atol=1e-5)


def test_mlp_head_has_the_outputs_asked_for():
    assert mlp_head(8, 3, hidden=5)(torch.randn(4, 8)).shape == (4, 3)


def test_multi_hot_marks_every_label_and_refuses_unknown_ones():
    assert multi_hot([(0, 2), (), (1, 1)], 3).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    with pytest.raises(ValueError, match="example 1 has label 3: expected 0 to 2"):
        multi_hot([(0,), (3,)], 3)


def test_multi_label_loss_is_the_mean_over_labels_and_refuses_class_numbers():
    logits, targets = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    expected = (math.log(2) + math.log1p(math.exp(2.0))) / 2
    assert multi_label_loss(logits, targets).item() == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"outputs \(1, 2\) and targets \(1,\)"):
        multi_label_loss(logits, torch.tensor([1]))


def test_a_probability_of_a_half_is_a_logit_of_zero():
    logits = torch.tensor([[-0.1, 0.1, 0.4, 0.6]])
    assert predict_labels(logits).tolist() == [[False, True, True, True]]
    assert predict_labels(logits, 1 / (1 + math.exp(-0.5))).tolist() == [[False, False, False, True]]
    with pytest.raises(ValueError, match=r"probability=1\.0"):
        predict_labels(logits, 1.0)


def test_f1_counts_hits_against_both_kinds_of_error():
    targets = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert f1_score(targets, targets) == 1
    assert f1_score(torch.zeros(2, 3), targets) == 0
    assert f1_score(torch.tensor([[1, 0, 1], [0, 0, 0]]), targets) == pytest.approx(2 / 5)


def test_standardising_goes_and_comes_back():
    targets = torch.tensor([[10.0], [20.0], [60.0]])
    unit = Standardised.of(targets)
    encoded = unit.encode(targets)
    assert encoded.mean().abs() < 1e-6
    assert encoded.std().item() == pytest.approx(1)
    assert torch.allclose(unit.decode(encoded), targets)
    with pytest.raises(ValueError, match="3 targets: expected at least two that differ"):
        Standardised.of(torch.ones(3))


def test_regression_loss_refuses_to_broadcast():
    with pytest.raises(ValueError, match=r"outputs \(4, 1\) and targets \(4,\)"):
        regression_loss()(torch.zeros(4, 1), torch.zeros(4))
    outputs, targets = torch.zeros(2, 1), torch.tensor([[1.0], [10.0]])
    assert regression_loss()(outputs, targets).item() == pytest.approx(50.5)
    assert regression_loss(huber=1.0)(outputs, targets).item() == pytest.approx((0.5 + 9.5) / 2)


def test_r_squared_is_zero_for_the_mean_and_one_for_the_truth():
    targets = torch.tensor([[1.0], [2.0], [6.0]])
    assert r_squared(targets, targets) == 1
    assert r_squared(torch.full((3, 1), 3.0), targets) == pytest.approx(0)
    assert r_squared(torch.full((3, 1), 30.0), targets) < 0


def test_fit_head_learns_a_linear_rule():
    torch.manual_seed(0)
    features = torch.randn(60, 4)
    targets = features @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]])
    head = fit_head(nn.Linear(4, 1), features, targets, criterion=regression_loss(), learning_rate=0.05, steps=200)
    assert not head.training
    assert r_squared(head(features).detach(), targets) > 0.99


@pytest.mark.parametrize(("head", "targets", "criterion"), [
    (CosineHead(128, 3), torch.arange(6) % 3, F.cross_entropy),
    (mlp_head(128, 4), multi_hot([(0, 1)] * 6, 4), multi_label_loss),
    (nn.Linear(128, 1), torch.randn(6, 1), regression_loss(1.0)),
])  # fmt: skip
def test_a_network_is_fine_tuned_with_every_kind_of_head(head, targets, criterion):
    network = load_glyphnet()
    network.head = head
    before = network.stem.weight.detach().clone()
    fit(network, torch.rand(6, 1, 32, 32), targets, steps=2, learning_rate=1e-2, seed=0, criterion=criterion)
    assert not torch.equal(network.stem.weight, before)
