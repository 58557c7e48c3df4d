import math

import pytest
import torch
from torch import nn

from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.schedules import constant, range_test, smooth_losses, steepest_rate, warmup_cosine
from workbook.methods.torch.training import fit


def rates_of(schedule, steps, groups=(1.0,)):
    optimiser = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in groups])
    moves, seen = schedule(optimiser, steps), []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        moves.step()
    return seen


def test_warmup_rises_linearly_then_falls_as_a_cosine():
    rates = [rate for (rate,) in rates_of(warmup_cosine(0.2), 10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[2:] == pytest.approx([0.5 * (1 + math.cos(math.pi * i / 8)) for i in range(8)])


def test_without_warmup_the_first_step_is_the_peak():
    assert rates_of(warmup_cosine(0.0), 4)[0] == [1.0]


def test_every_group_keeps_its_own_peak():
    assert all(second == pytest.approx(0.1 * first) for first, second in rates_of(warmup_cosine(), 7, (1.0, 0.1)))
    assert rates_of(constant, 3, (1.0, 0.1)) == [[1.0, 0.1]] * 3


def test_a_share_outside_is_refused():
    with pytest.raises(ValueError, match=r"share=1\.0"):
        warmup_cosine(1.0)


def few_images():
    torch.manual_seed(0)
    return torch.rand(12, 1, 32, 32), torch.arange(12) % 3


def small():
    torch.manual_seed(0)
    network = load_glyphnet()
    network.head = nn.Linear(128, 3)
    return network


def test_fit_takes_a_schedule_and_its_rate_counts():
    images, labels = few_images()

    def frozen(optimiser, steps):
        return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.0)

    before = [p.clone() for p in small().parameters()]
    stays = fit(small(), images, labels, steps=2, learning_rate=1e-2, seed=0, schedule=frozen)
    moves = fit(small(), images, labels, steps=2, learning_rate=1e-2, seed=0, schedule=constant)
    assert all(torch.equal(a, b) for a, b in zip(before, stays.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before, moves.parameters(), strict=True))


def test_range_test_crosses_the_rates_and_stops_when_the_loss_explodes():
    images, labels = few_images()
    rates, losses = range_test(small(), images, labels, low=1e-4, high=1e-2, steps=5)
    assert rates == pytest.approx([1e-4 * 10 ** (i / 2) for i in range(5)])
    assert len(losses) == 5
    rates, _ = range_test(small(), images, labels, low=1e-3, high=1e6, steps=30)
    assert len(rates) < 30


def test_range_test_refuses_an_empty_range():
    with pytest.raises(ValueError, match=r"low=0\.1, high=0\.01"):
        range_test(small(), *few_images(), low=0.1, high=0.01)


def test_steepest_rate_finds_the_fall():
    rates = [10.0**i for i in range(-5, 1)]
    assert steepest_rate(rates, [2.0, 2.0, 1.9, 0.5, 0.4, 3.0], smooth=0.0) == 1e-2
    with pytest.raises(ValueError, match="at least 3: got 1 and 2"):
        steepest_rate([1.0, 2.0], [1.0])


def test_smoothing_keeps_a_constant_and_weights_by_age():
    assert smooth_losses([2.0, 2.0, 2.0]) == pytest.approx([2.0] * 3)
    assert smooth_losses([0.0, 1.0], 0.5) == pytest.approx([0.0, 1 / 1.5])
