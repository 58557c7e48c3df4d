"""The bench of lesson 08: every arm trains on the rows and targets that its name says."""

import numpy as np
import pytest
import torch

from data_scripts.photo_digits import load_photo_digits
from workbook.methods.torch.distillation import distil, small_student
from workbook.methods.torch.distillation_table import (
    ABLATIONS,
    BATCH,
    CANDIDATES,
    LABELS,
    ShuffledTeacher,
    StudentBench,
    alpha_without_square,
    difference_name,
    differences,
    read_settings,
)
from workbook.methods.torch.learning_curve import SHIFT
from workbook.methods.torch.training import fit


@pytest.fixture(scope="module")
def bench():
    return StudentBench(load_photo_digits(), 2, steps=2, teacher_steps=1)


def first(arm):
    return {"learning_rate": 1e-2} | CANDIDATES["kd" if arm in ABLATIONS else arm][0]


@pytest.mark.parametrize("arm", [*CANDIDATES, *ABLATIONS])
def test_every_arm_trains_and_is_scored(bench, arm):
    scores = bench.run(arm, 0, first(arm), "validation")
    assert 0 <= scores.accuracy <= 1
    assert 0 <= scores.agreement <= 1
    assert arm in LABELS


def test_the_teacher_agrees_with_itself(bench):
    assert bench.run("teacher", 0, {}).agreement == 1


def test_every_candidate_list_has_four_entries():
    assert {len(candidates) for candidates in CANDIDATES.values()} == {4}


def test_the_distilled_arm_is_distil_on_the_labelled_rows(bench, one_thread):
    rows = bench.labelled(0)
    student = small_student(0)
    by_hand = distil(
        student,
        bench.teacher(0),
        bench.images[rows],
        bench.labels[rows],
        temperature=2.0,
        alpha=0.5,
        steps=2,
        seed=0,
        learning_rate=1e-2,
        batch=BATCH,
        shift=SHIFT,
        parameters=[{"params": list(student.parameters()), "fused": True}],
    )
    assert torch.equal(by_hand.head.weight, bench.student("kd", 0, first("kd")).head.weight)


def test_fused_and_plain_adamw_train_the_same_student(bench, one_thread):
    rows, networks = bench.labelled(0), [small_student(0), small_student(0)]
    for network, options in zip(networks, ({}, {"fused": True}), strict=True):
        groups = [{"params": list(network.parameters())} | options]
        fit(network, bench.images[rows], bench.labels[rows], steps=4, learning_rate=1e-2, seed=0, parameters=groups)
    plain, fused = (network.head.weight for network in networks)
    assert torch.allclose(plain, fused, atol=1e-5)


def test_hard_answers_use_no_label_beyond_the_draw(one_thread):
    task = load_photo_digits()
    spoilt = task.labels.copy()
    rows = StudentBench(task, 2, steps=2, teacher_steps=1).labelled(0)
    others = np.setdiff1d(task.train, rows)
    spoilt[others] = (spoilt[others] + 1) % 10
    weights = []
    for labels in (task.labels, spoilt):
        bench = StudentBench(task, 2, steps=2, teacher_steps=1)
        bench.labels = torch.from_numpy(labels)
        weights.append([bench.student(arm, 0, first(arm)).head.weight for arm in ("answers", "unlabelled")])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_a_shuffled_teacher_keeps_its_first_choice_and_its_confidence(bench):
    teacher, images = bench.teacher(0), bench.images[:50]
    with torch.no_grad():
        plain, shuffled = teacher(images), ShuffledTeacher(teacher, 0)(images)
    assert torch.equal(plain.argmax(1), shuffled.argmax(1))
    torch.testing.assert_close(plain.sort(dim=1).values, shuffled.sort(dim=1).values)
    assert not torch.equal(plain, shuffled)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_alpha_without_square_keeps_the_ratio_of_the_terms(temperature):
    alpha = alpha_without_square(temperature, 0.9)
    assert alpha * temperature**2 / (1 - alpha) == pytest.approx(0.9 / 0.1)


def test_differences_are_paired_and_leave_out_what_was_not_run():
    found = differences({"alone": [0.5, 0.6], "kd": [0.6, 0.9], "teacher": [1.0, 1.0]})
    assert list(found) == [("kd", "alone")]
    np.testing.assert_allclose(found["kd", "alone"], [0.1, 0.3])
    assert difference_name(("kd", "alone")) == "distilled − student alone"


def test_settings_are_read_back_by_label_and_ablations_take_those_of_the_distilled_arm():
    values = {("distilled", "alpha"): (0.5, None, None), ("student alone", "weight_decay"): (0.1, None, None)}
    found = read_settings(values, ["alone", "kd", "shuffled"])
    assert found == {"alone": {"weight_decay": 0.1}, "kd": {"alpha": 0.5}, "shuffled": {"alpha": 0.5}}


def test_an_unknown_arm_is_named(bench):
    with pytest.raises(ValueError, match="unknown arm 'hints'"):
        bench.student("hints", 0, {"learning_rate": 1e-2})
