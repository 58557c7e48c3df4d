"""The experiment of chapter 01 keeps its own rules: same draws, same budget, no choice on test rows."""

import dataclasses

import numpy as np
import pytest
import torch

from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.task import Task, split_rows
from workbook.methods.torch import learning_curve
from workbook.methods.torch.learning_curve import ARMS, CANDIDATES, LABELS, SEARCH_DRAWS, Bench, learning_curves


def striped_task(rows: int = 60) -> Task:
    """Horizontal against vertical stripes, with noise: easy for every arm."""
    generator = np.random.default_rng(0)
    labels = np.arange(rows) % 2
    stripes = np.tile((np.arange(32) // 4 % 2).astype(np.float32), (32, 1))
    images = np.stack([stripes if label else stripes.T for label in labels])
    images = (0.8 * images + 0.2 * generator.random(images.shape)).astype(np.float32)
    train, validation, test = split_rows(labels, seed=0)
    return Task("stripes", images, labels.astype(np.int64), ("across", "down"), train, validation, test)


def tiny_network() -> GlyphNet:
    torch.manual_seed(3)
    return GlyphNet(5, widths=(4, 8, 8)).eval()


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(striped_task(), tiny_network, steps=4)


def test_every_arm_has_a_label_and_the_same_search_budget():
    assert set(LABELS) == set(ARMS)
    assert {len(candidates) for candidates in CANDIDATES.values()} == {4}


@pytest.mark.parametrize("arm", ["pixels", "probe"])
def test_an_easy_task_is_learned(bench, arm):
    assert bench.run(arm, 5, 0, CANDIDATES[arm][0]) > 0.9


@pytest.mark.parametrize("arm", ARMS)
def test_a_run_is_the_same_again(bench, arm):
    setting = CANDIDATES[arm][1]
    assert bench.run(arm, 2, 7, setting) == bench.run(arm, 2, 7, setting)


def test_the_training_seed_changes_training_but_not_the_rows(monkeypatch, bench):
    calls = []

    def remember(network, images, labels, *, seed, **settings):
        calls.append((seed, images.clone(), network.head.weight.detach().clone()))

    monkeypatch.setattr(learning_curve, "fit", remember)
    for training_seed in (None, 7, 8):
        bench.run("scratch", 2, 7, {"learning_rate": 1e-3}, training_seed=training_seed)

    (default, rows, head), (same, same_rows, same_head), (other, other_rows, other_head) = calls
    assert (default, same, other) == (7, 7, 8)
    assert torch.equal(rows, same_rows)
    assert torch.equal(rows, other_rows)
    assert torch.equal(head, same_head)
    assert not torch.equal(head, other_head)


def test_the_search_never_reads_test_labels():
    task = striped_task()
    spoilt = task.labels.copy()
    spoilt[task.test] = 1 - spoilt[task.test]
    honest = Bench(task, tiny_network, steps=2)
    blind = Bench(dataclasses.replace(task, labels=spoilt), tiny_network, steps=2)
    for arm in ARMS:
        assert honest.search(arm, 2, draws=(1000,)) == blind.search(arm, 2, draws=(1000,))


def test_the_search_finds_the_better_setting(monkeypatch, bench):
    scores = {0: 0.2, 1: 0.9, 2: 0.5, 3: 0.4}
    candidates = CANDIDATES["probe"]

    def run(arm, k, draw, setting, rows):
        assert rows == "validation"
        return scores[candidates.index(setting)]

    monkeypatch.setattr(bench, "run", run)
    assert bench.search("probe", 1) == 1


def test_curves_hold_one_number_a_draw_for_every_arm_and_k(bench):
    chosen = {(arm, k): 0 for arm in ARMS for k in (1, 2)}
    curves = learning_curves(bench, (1, 2), (0, 1, 2), chosen)
    assert set(curves) == set(chosen)
    assert all(len(values) == 3 and all(0 <= v <= 1 for v in values) for values in curves.values())


def test_search_draws_are_no_reported_draws():
    assert min(SEARCH_DRAWS) >= 1000
