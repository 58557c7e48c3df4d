import pytest
import torch
from torch.nn import functional as F

from workbook.methods.torch.cached_answers import (
    answers,
    cached_kd,
    colour_student,
    other_version,
    training_speed,
    with_labels,
)
from workbook.methods.torch.distillation import UNLABELLED, kd_loss
from workbook.methods.torch.training import fit


@pytest.fixture
def pictures():
    return torch.rand(70, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_student_takes_colour_and_its_seed_decides_every_weight(pictures):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (colour_student(seed, classes=4) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first(pictures[:2]).shape == (2, 4)
    assert torch.equal(first.stem.weight, again.stem.weight)
    assert not torch.equal(first.stem.weight, other.stem.weight)


def test_other_version_mirrors_and_shifts(pictures):
    assert torch.equal(other_version(pictures, mirror=True, reach=0, seed=0), pictures.flip(3))
    shifted = other_version(pictures, mirror=False, reach=3, seed=0)
    assert shifted.shape == pictures.shape
    assert not torch.equal(shifted, pictures)
    assert torch.equal(shifted, other_version(pictures, mirror=False, reach=3, seed=0))


def test_answers_do_not_depend_on_the_batch_and_can_be_learned_from(pictures):
    network = colour_student(0).train()
    few, many = (answers(network, pictures, batch=batch) for batch in (7, 70))
    torch.testing.assert_close(few, many)
    assert not network.training
    F.mse_loss(torch.zeros_like(few).requires_grad_(), few).backward()  # a tensor of inference mode would raise


def test_cached_loss_is_kd_loss_rows_without_a_label_included():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 4, generator=generator)
    labels = torch.tensor([0, 3, UNLABELLED, 1, UNLABELLED, 2])
    found = cached_kd(2.0, 0.7)(student, with_labels(teacher, labels))
    torch.testing.assert_close(found, kd_loss(student, teacher, labels, 2.0, 0.7))


def test_a_student_learns_its_teachers_answers(pictures):
    teacher, student = colour_student(1), colour_student(2)
    with torch.no_grad():
        teacher.head.weight.mul_(20)
    wanted = answers(teacher, pictures)
    targets = with_labels(wanted, torch.full((len(pictures),), UNLABELLED))
    criterion = cached_kd(1.0, 1.0)
    before = criterion(answers(student, pictures), targets)
    fit(student, pictures, targets, steps=40, learning_rate=5e-3, seed=0, shift=0, criterion=criterion)
    assert criterion(answers(student, pictures), targets) < before / 2


def test_a_wider_network_trains_more_slowly(pictures):
    labels = torch.zeros(len(pictures), dtype=torch.int64)
    narrow, wide = (
        training_speed(colour_student(0, widths=widths), pictures, labels, steps=3)
        for widths in ((8, 16, 32), (64, 128, 256))
    )
    assert narrow > 2 * wide > 0
