"""The distillation loss against closed forms and autograd, and the loop's promises about student and teacher."""

import pytest
import torch
from torch.nn import functional as F

from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.distillation import (
    UNLABELLED,
    agreement,
    distil,
    kd_loss,
    predict_logits,
    small_student,
    train_teacher,
)
from workbook.methods.torch.training import fit


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 10, generator=generator, dtype=torch.float64) * 3
    return student.requires_grad_(), teacher, torch.arange(6)


@pytest.fixture
def few_images():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(20, 1, 32, 32, generator=generator), torch.arange(20) % 10


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_soft_term_is_its_formula(logits, temperature):
    student, teacher, labels = logits
    p_t, p_s = ((z / temperature).exp() for z in (teacher, student))
    p_t, p_s = p_t / p_t.sum(1, keepdim=True), p_s / p_s.sum(1, keepdim=True)
    by_hand = temperature**2 * (p_t * (p_t / p_s).log()).sum(1).mean()
    torch.testing.assert_close(kd_loss(student, teacher, labels, temperature, 1.0), by_hand)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_gradient_is_temperature_times_the_difference_of_probabilities(logits, temperature):
    student, teacher, _ = logits
    kd_loss(student, teacher, None, temperature, 1.0).backward()
    p_s, p_t = (F.softmax(z.detach() / temperature, dim=1) for z in (student, teacher))
    torch.testing.assert_close(student.grad, temperature * (p_s - p_t) / len(student))


def test_alpha_zero_is_cross_entropy_and_alpha_mixes(logits):
    student, teacher, labels = logits
    hard, soft = kd_loss(student, teacher, labels, 4.0, 0.0), kd_loss(student, teacher, labels, 4.0, 1.0)
    torch.testing.assert_close(hard, F.cross_entropy(student, labels))
    torch.testing.assert_close(kd_loss(student, teacher, labels, 4.0, 0.3), 0.7 * hard + 0.3 * soft)


def test_a_student_equal_to_its_teacher_has_no_soft_loss(logits):
    _, teacher, labels = logits
    assert kd_loss(teacher + 5, teacher, labels, 2.0, 1.0).abs() < 1e-12


def test_unlabelled_rows_count_in_the_soft_term_only(logits):
    student, teacher, labels = logits
    partly = labels.clone()
    partly[2:] = UNLABELLED
    expected = 0.5 * 2 / 6 * F.cross_entropy(student[:2], labels[:2]) + 0.5 * kd_loss(student, teacher, None, 4.0, 1.0)
    torch.testing.assert_close(kd_loss(student, teacher, partly, 4.0, 0.5), expected)
    nothing, soft = torch.full_like(labels, UNLABELLED), kd_loss(student, teacher, None, 4.0, 1.0)
    torch.testing.assert_close(kd_loss(student, teacher, nothing, 4.0, 0.5), 0.5 * soft)


def test_no_gradient_reaches_the_teacher(logits):
    student, teacher, labels = logits
    teacher.requires_grad_()
    kd_loss(student, teacher, labels, 4.0, 0.5).backward()
    assert teacher.grad is None


@pytest.mark.parametrize(("temperature", "alpha"), [(0.0, 0.5), (-1.0, 0.5), (4.0, 1.1), (4.0, -0.1)])
def test_settings_without_meaning_are_refused(logits, temperature, alpha):
    with pytest.raises(ValueError, match="expected T > 0 and alpha between 0 and 1"):
        kd_loss(*logits, temperature, alpha)


def test_different_classes_are_refused(logits):
    student, teacher, labels = logits
    with pytest.raises(ValueError, match=r"\(6, 10\).*\(6, 9\)"):
        kd_loss(student, teacher[:, :9], labels, 4.0, 0.5)


def test_the_student_has_at_most_a_tenth_of_the_teachers_parameters():
    teacher = load_glyphnet()
    teacher.head = torch.nn.Linear(128, 10)
    large, small = (sum(p.numel() for p in net.parameters()) for net in (teacher, small_student(0)))
    assert 10 * small <= large


def test_students_depend_on_their_seed_and_leave_global_numbers_alone():
    state = torch.random.get_rng_state()
    first, again, other = small_student(0), small_student(0), small_student(1)
    assert torch.equal(first.stem.weight, again.stem.weight)
    assert not torch.equal(first.stem.weight, other.stem.weight)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_train_teacher_is_reproducible_frozen_and_in_evaluation_mode(few_images, one_thread):
    images, labels = few_images
    first, again = (train_teacher(images, labels, seed=3, steps=2) for _ in range(2))
    assert torch.equal(first.head.weight, again.head.weight)
    assert not first.training
    assert not any(p.requires_grad for p in first.parameters())


def test_distil_leaves_the_teacher_as_it_was(few_images):
    images, labels = few_images
    teacher = small_student(9).train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = distil(small_student(0), teacher, images, labels, temperature=4, alpha=0.5, steps=2, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not teacher.training
    assert not student.training


def test_alpha_zero_is_fit_on_the_same_views(few_images, one_thread):
    images, labels = few_images
    alone = fit(small_student(0), images, labels, steps=3, learning_rate=1e-2, seed=5, batch=8)
    taught = distil(
        small_student(0), small_student(9), images, labels, temperature=4, alpha=0, steps=3, seed=5, batch=8
    )
    assert torch.equal(alone.head.weight, taught.head.weight)


def test_teacher_and_student_see_the_same_views(few_images):
    images, labels = few_images
    seen = {"teacher": [], "student": []}
    networks = {name: small_student(i) for i, name in enumerate(seen)}
    for name, network in networks.items():
        network.register_forward_pre_hook(lambda _, inputs, name=name: seen[name].append(inputs[0].clone()))
    distil(networks["student"], networks["teacher"], images, labels, temperature=4, alpha=1, steps=3, seed=0, batch=8)
    assert len(seen["teacher"]) == len(seen["student"]) == 3
    assert all(torch.equal(a, b) for a, b in zip(seen["teacher"], seen["student"], strict=True))


def test_a_penalty_sees_the_student_and_counts(few_images):
    images, labels = few_images
    student, called = small_student(0), []

    def penalty(network):
        called.append(network is student)
        return network.head.weight.square().sum()

    distil(student, small_student(9), images, labels, temperature=4, alpha=1, steps=2, seed=0, penalty=penalty)
    assert called == [True, True]


def test_distil_pulls_the_student_to_the_teacher(few_images):
    images, _ = few_images
    teacher = small_student(9)
    teacher.head.weight.data *= 30
    student = small_student(0)

    def gap():
        return kd_loss(predict_logits(student, images), predict_logits(teacher, images), None, 4.0, 1.0).item()

    before = gap()
    distil(student, teacher, images, None, temperature=4, alpha=1, steps=60, seed=0, shift=0)
    assert gap() < before / 2


def test_labels_are_needed_for_a_hard_term_and_must_match(few_images):
    images, labels = few_images
    with pytest.raises(ValueError, match="expected alpha=1"):
        distil(small_student(0), small_student(1), images, None, temperature=4, alpha=0.5, steps=1, seed=0)
    with pytest.raises(ValueError, match="20 images and 3 labels"):
        distil(small_student(0), small_student(1), images, labels[:3], temperature=4, alpha=0.5, steps=1, seed=0)


def test_a_network_agrees_with_itself(few_images):
    assert agreement(small_student(0), small_student(0), few_images[0]) == 1.0
