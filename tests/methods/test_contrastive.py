import numpy as np
import pytest
import torch
from torch.nn import functional as F

from data_scripts.glyphnet_torch import GlyphNet
from workbook.methods.torch.contrastive import ContrastiveLoss, EpisodeLoss, NamingLoss, nt_xent, train_on_pairs

pytestmark = pytest.mark.usefixtures("one_thread")


def vectors(n=6, d=4, seed=0):
    return torch.randn(2, n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_definition(first, second, temperature):
    z, n = F.normalize(torch.cat([first, second]), dim=1), len(first)
    losses = []
    for i in range(2 * n):
        weights = {j: torch.exp(z[i] @ z[j] / temperature) for j in range(2 * n) if j != i}
        losses.append(-torch.log(weights[(i + n) % (2 * n)] / sum(weights.values())))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_the_loss_is_the_definition(temperature):
    first, second = vectors()
    assert torch.isclose(nt_xent(first, second, temperature=temperature), by_definition(first, second, temperature))


def test_only_directions_matter_and_the_two_halves_may_be_swapped():
    first, second = vectors()
    loss = nt_xent(first, second, temperature=0.2)
    assert torch.isclose(loss, nt_xent(3 * first, 0.1 * second, temperature=0.2))
    assert torch.isclose(loss, nt_xent(second, first, temperature=0.2))


def test_chance_and_floor():
    n, temperature = 5, 0.3
    same = torch.ones(n, 3, dtype=torch.float64)
    assert np.isclose(nt_xent(same, same, temperature=temperature), np.log(2 * n - 1))
    simplex = torch.eye(n, dtype=torch.float64) - 1 / n
    floor = np.log1p((2 * n - 2) * np.exp(-n / (n - 1) / temperature))
    assert np.isclose(nt_xent(simplex, simplex, temperature=temperature), floor)
    assert nt_xent(*vectors(n), temperature=temperature) > floor


@pytest.mark.parametrize(
    ("first", "second", "temperature", "told"),
    [
        (torch.ones(4, 3), torch.ones(5, 3), 0.2, r"\(4, 3\).*\(5, 3\)"),
        (torch.ones(1, 3), torch.ones(1, 3), 0.2, "at least 2"),
        (torch.ones(4, 3), torch.ones(4, 3), 0.0, "positive"),
    ],
)
def test_what_makes_no_sense_is_refused(first, second, temperature, told):
    with pytest.raises(ValueError, match=told):
        nt_xent(first, second, temperature=temperature)


def test_naming_counts_both_pictures():
    torch.manual_seed(0)
    loss, (first, second) = NamingLoss(4, 3), vectors().float()
    told = torch.tensor([0, 1, 2, 0, 1, 2])
    each = [F.cross_entropy(loss.head(half), told) for half in (first, second)]
    assert torch.isclose(loss(first, second, told), (each[0] + each[1]) / 2)


def test_an_episode_is_nearest_prototype_and_leaves_out_its_own_class():
    first = torch.eye(4)
    told = torch.arange(4)
    assert EpisodeLoss()(first * 9, first * 9, told) < 1e-3
    # the first two are of one class: neither is a rival of the other, so equal pictures cost nothing
    twins = torch.stack([first[0], first[0], first[2], first[3]]) * 9
    assert EpisodeLoss()(twins, twins, torch.tensor([0, 0, 1, 2])) < 1e-3
    assert EpisodeLoss()(twins, twins, told) > 0.3


def bars(generator):
    """Pairs of horizontal (0) or vertical (1) bars at different places."""
    told = torch.randint(0, 2, (8,), generator=generator)
    pictures = torch.rand(2, 8, 1, 16, 16, generator=generator) * 0.2
    for half in pictures:
        for picture, kind in zip(half, told, strict=True):
            place = int(torch.randint(2, 13, (1,), generator=generator))
            (picture[0, place] if kind == 0 else picture[0, :, place]).add_(0.8)
    return pictures[0], pictures[1], told


def run(loss, seed=0, steps=30, watch=None):
    torch.manual_seed(seed)
    network = GlyphNet(2, widths=(4, 6, 8))
    head = network.head.weight.detach().clone()
    losses = train_on_pairs(network, loss(), bars, steps=steps, learning_rate=1e-2, seed=seed, watch=watch)
    assert torch.equal(head, network.head.weight)
    assert not network.training
    return network, losses


def test_training_lowers_every_loss_and_repeats_itself():
    for loss in (lambda: ContrastiveLoss(8, temperature=0.5, projected=4), lambda: NamingLoss(8, 2)):
        network, losses = run(loss)
        again, _ = run(loss)
        assert len(losses) == 30
        assert np.mean(losses[-5:]) < np.mean(losses[:5])
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_the_watcher_sees_every_step_and_may_change_the_mode():
    seen = []
    run(EpisodeLoss, steps=3, watch=lambda step, network: seen.append((step, network.eval() is network)))
    assert [step for step, _ in seen] == [0, 1, 2, 3]
