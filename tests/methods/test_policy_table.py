import numpy as np
import pytest
import torch

from data_scripts.handwriting import load_handwriting
from data_scripts.pretrained_torch import load_glyphnet
from data_scripts.task import sample_k_shot
from workbook.methods.torch.policy_table import (
    ARMS,
    CANDIDATES,
    LABELS,
    PolicyBench,
    best_temperature,
    describe,
    policy_table,
    table_rows,
    temper,
    trained_parameters,
)

TRAINED = [arm for arm in ARMS if arm not in ("pixels", "probe")]


@pytest.fixture(scope="module")
def bench():
    return PolicyBench(load_handwriting(), load_glyphnet, steps=4)


def test_every_arm_has_a_label_and_four_different_settings_in_words():
    assert set(LABELS) == set(ARMS)
    assert all(len({describe(setting) for setting in CANDIDATES[arm]}) == 4 for arm in ARMS)


@pytest.mark.parametrize("arm", TRAINED)
def test_a_trained_arm_takes_the_rows_and_comes_back_in_evaluation_mode(bench, arm):
    rows = sample_k_shot(bench.task, 1, seed=0)
    network = bench.train(arm, rows, CANDIDATES[arm][0], seed=0)
    assert not network.training
    assert network(bench.images[:2]).shape == (2, 10)


def test_what_stays_frozen_is_as_pretrained(bench):
    rows = sample_k_shot(bench.task, 1, seed=0)
    start = load_glyphnet().state_dict()
    changed = {}
    for arm in ("head", "norm", "last-block", "full"):
        after = bench.train(arm, rows, CANDIDATES[arm][1], seed=0).state_dict()
        names = {name for name in start if not name.startswith("head.")}
        changed[arm] = {name for name in names if not torch.equal(after[name], start[name])}
    assert changed["head"] == set()
    assert all(".bn" in name or "_bn" in name or "shortcut.1" in name for name in changed["norm"])
    assert all(name.startswith("block3.") for name in changed["last-block"])
    assert len(changed["full"]) == len(start) - 2


def test_an_unknown_arm_lists_the_choices(bench):
    with pytest.raises(ValueError, match=r"unknown arm 'adapter'.*lp-ft"):
        bench.train("adapter", np.arange(4), {"learning_rate": 1e-3}, seed=0)


def test_scores_are_those_of_the_test_rows(bench):
    table = policy_table(bench, ["pixels", "probe", "head"], 1, [0, 1], {"pixels": 0, "probe": 1, "head": 1})
    assert [len(scores) for scores in table.values()] == [2, 2, 2]
    for scores in table.values():
        assert all(0 < s.shifted <= s.accuracy < 1 for s in scores)
        assert all(np.mean(s.by_kind) == pytest.approx(s.shifted, abs=0.01) for s in scores)
    assert table["pixels"][0].calibration is None
    assert table["head"][0].tempered < table["head"][0].calibration
    assert 0 <= table["head"][0].calibration <= 1
    rows = table_rows(table, minus="probe")
    assert list(rows) == [LABELS["pixels"], LABELS["head"]]
    assert list(rows[LABELS["pixels"]]) == ["accuracy", "shifted accuracy"]
    difference = table["head"][1].shifted - table["probe"][1].shifted
    assert rows[LABELS["head"]]["shifted accuracy"][1] == pytest.approx(difference)
    assert table["probe"][1].accuracy == bench.run("probe", 1, 1, CANDIDATES["probe"][1])


def test_the_probe_scores_like_the_one_of_chapter_01(bench):
    from workbook.methods.torch.learning_curve import Bench

    plain = Bench(load_handwriting(), load_glyphnet, steps=4)
    for arm in ("pixels", "probe"):
        for setting in CANDIDATES[arm][1::2]:
            assert bench.run(arm, 2, 0, setting) == pytest.approx(plain.run(arm, 2, 0, setting), abs=0.005)


def test_runs_side_by_side_are_the_runs_alone(bench):
    runs = [(arm, 1, 0, CANDIDATES[arm][0], "validation") for arm in ("lora", "head", "lora", "lp-ft")]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = bench.run_all(runs)
    finally:
        torch.set_num_threads(before)
    torch.set_num_threads(1)
    alone = [bench.run(*run) for run in runs]
    torch.set_num_threads(before)
    assert together == alone


def test_the_training_seed_is_the_draw(bench):
    with pytest.raises(ValueError, match="leave training_seed out"):
        bench.run("head", 1, 0, CANDIDATES["head"][0], "test", 5)


def test_the_temperature_of_flattened_logits_is_found():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 5)) * 2
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([generator.choice(5, p=p) for p in honest])
    assert best_temperature(temper(honest, 3.0), labels) == pytest.approx(1 / 3, rel=0.07)
    np.testing.assert_allclose(temper(temper(honest, 3.0), 1 / 3), honest, atol=1e-9)


def test_parameters_are_counted_as_they_train(bench):
    counts = {arm: trained_parameters(bench.network("finetuned", 0), arm) for arm in ("probe", "head", "lora", "lp-ft")}
    assert counts["probe"] == counts["head"] == 128 * 10 + 10
    assert counts["head"] < counts["lora"] < 0.1 * counts["lp-ft"]
