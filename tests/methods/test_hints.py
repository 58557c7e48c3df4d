import math

import pytest
import torch

from data_scripts.glyphnet_torch import GlyphNet
from workbook.methods.torch.distillation import distil, small_student
from workbook.methods.torch.hints import (
    BLOCKS,
    INNER,
    Hint,
    angle_loss,
    angles,
    attention_loss,
    attention_map,
    distance_loss,
    distil_with,
    relational_loss,
    relative_distances,
    watching,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moved(rows, *, scale=3.0, seed=5):
    """Rotate, scale and shift rows ``(N, d)``."""
    rotation, _ = torch.linalg.qr(draw(rows.shape[1], rows.shape[1], seed=seed))
    return scale * rows @ rotation + draw(rows.shape[1], seed=seed + 1)


def huber(difference):
    size = abs(difference)
    return 0.5 * size**2 if size < 1 else size - 0.5


# watching


@pytest.mark.parametrize("widths", [(24, 64, 128), (4, 6, 8)])
def test_a_watched_network_shows_its_maps_until_the_watching_ends(widths):
    network, images = GlyphNet(5, widths).eval(), torch.rand(3, 1, 32, 32)
    with watching(network) as maps:
        features = network.features(images)
        assert [tuple(maps[b].shape) for b in BLOCKS] == [(3, w, s, s) for w, s in zip(widths, (16, 8, 4), strict=True)]
        assert torch.equal(maps["block3"].mean((2, 3)), features)
    last = maps["block3"]
    network(torch.rand(2, 1, 32, 32))
    assert maps["block3"] is last


# hints


def test_a_hint_is_half_the_mean_square_after_the_regressor():
    student, teacher = draw(2, 1, 1, 2).float(), draw(2, 3, 1, 2, seed=1).float()
    hint = Hint(1, 3)
    with torch.no_grad():
        hint.regressor.weight.copy_(torch.tensor([1.0, -2.0, 0.5]).view(3, 1, 1, 1))
        hint.regressor.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    total = 0.0
    for n in range(2):
        for place in range(2):
            for c, (w, b) in enumerate(((1.0, 0.0), (-2.0, 1.0), (0.5, -1.0))):
                total += (w * student[n, 0, 0, place] + b - teacher[n, c, 0, place]).item() ** 2
    assert hint(student, teacher).item() == pytest.approx(0.5 * total / 12, rel=1e-5)


def test_a_linear_image_of_the_student_can_be_hinted_without_loss_and_the_teacher_gets_no_gradient():
    student, teacher = draw(4, 2, 3, 3).float(), None
    hint = Hint(2, 5)
    teacher = hint.regressor(student).detach().requires_grad_()
    loss = hint(student.requires_grad_(), teacher + 1)
    loss.backward()
    assert loss.item() == pytest.approx(0.5, rel=1e-5)
    assert teacher.grad is None
    assert student.grad.abs().max() > 0
    assert hint(student, teacher).item() < 1e-10


@pytest.mark.parametrize("shape", [(3, 5, 4, 4), (2, 5, 8, 8)])
def test_maps_of_other_rows_or_sizes_are_refused(shape):
    with pytest.raises(ValueError, match="not different rows or sizes"):
        Hint(2, 5)(torch.zeros(2, 2, 4, 4), torch.zeros(shape))
    with pytest.raises(ValueError, match="only their channels may differ"):
        attention_loss(torch.zeros(2, 2, 4, 4), torch.zeros(shape))


# attention


def test_the_attention_of_two_places_by_hand():
    maps = torch.tensor([[[[1.0, 0.0]], [[2.0, 3.0]]]])  # squares add up to 5 and 9
    torch.testing.assert_close(attention_map(maps), torch.tensor([[5.0, 9.0]]) / math.sqrt(25 + 81))


def test_attention_is_blind_to_scale_and_to_a_rotation_of_the_channels():
    maps, other = draw(3, 4, 2, 2), draw(3, 6, 2, 2, seed=1)
    loss = attention_loss(maps, other)
    rotation, _ = torch.linalg.qr(draw(6, 6, seed=2))
    torch.testing.assert_close(attention_loss(7 * maps, 0.1 * other), loss)
    torch.testing.assert_close(attention_loss(maps, torch.einsum("ncij,cd->ndij", other, rotation)), loss)
    assert attention_loss(maps, 5 * maps).item() == pytest.approx(0, abs=1e-12)


def test_the_attention_loss_is_two_minus_twice_the_cosine_at_most_two():
    maps, other = draw(3, 4, 2, 2), draw(3, 6, 2, 2, seed=1)
    cosines = (attention_map(maps) * attention_map(other)).sum(1)
    torch.testing.assert_close(attention_loss(maps, other), (2 - 2 * cosines).mean())
    left, right = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]]])
    assert attention_loss(left, right).item() == pytest.approx(2)


# relations


def test_distances_of_a_right_triangle():
    rows = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)  # sides 3, 4, 5 with mean 4
    expected = torch.tensor([3, 4, 3, 5, 4, 5], dtype=torch.float64) / 4
    torch.testing.assert_close(relative_distances(rows), expected)


def test_angles_of_a_right_triangle():
    rows = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    expected = torch.tensor([0, 0, 3 / 5, 3 / 5, 4 / 5, 4 / 5], dtype=torch.float64)  # at each corner, both orders
    torch.testing.assert_close(angles(rows), expected)


def test_both_losses_are_their_definitions():
    student, teacher = draw(5, 3), draw(5, 7, seed=1)

    def distances(rows):
        found = {(i, j): (rows[i] - rows[j]).norm().item() for i in range(5) for j in range(5) if i != j}
        mean = sum(found.values()) / len(found)
        return {pair: value / mean for pair, value in found.items()}

    def cosines(rows):
        return {
            (i, j, k): torch.cosine_similarity(rows[i] - rows[j], rows[k] - rows[j], dim=0).item()
            for i in range(5)
            for j in range(5)
            for k in range(5)
            if len({i, j, k}) == 3
        }

    for loss, of in ((distance_loss, distances), (angle_loss, cosines)):
        ours, theirs = of(student), of(teacher)
        expected = sum(huber(ours[key] - theirs[key]) for key in ours) / len(ours)
        assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-9)
    both = distance_loss(student, teacher) + 2 * angle_loss(student, teacher)
    torch.testing.assert_close(relational_loss(student, teacher), both)


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_relations_are_blind_to_motions_and_scale_and_need_no_regressor(loss):
    student, teacher = draw(6, 3), draw(6, 9, seed=1)
    torch.testing.assert_close(loss(student, moved(teacher)), loss(student, teacher))
    wider = torch.cat([student, torch.zeros(6, 4, dtype=torch.float64)], dim=1)  # the same figure in more dimensions
    assert loss(student, moved(wider)).item() == pytest.approx(0, abs=1e-12)
    assert loss(student, teacher).item() > 1e-3


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_rows_that_coincide_give_small_gradients_and_the_teacher_none(loss):
    student = draw(4, 3)
    student[1] = student[0]
    student.requires_grad_()
    teacher = draw(4, 3, seed=1).requires_grad_()
    loss(student, teacher).backward()
    assert student.grad.abs().max() < 10  # and not the 1e12 of a direction divided by a length of almost 0
    assert teacher.grad is None


def test_a_collapsed_batch_has_finite_gradients():
    student = torch.ones(4, 3, requires_grad=True)
    relational_loss(student, torch.eye(4)).backward()
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize(
    ("loss", "student", "teacher", "told"),
    [
        (distance_loss, (4, 3), (5, 3), "same rows"),
        (distance_loss, (1, 3), (1, 3), "at least 2"),
        (angle_loss, (2, 3), (2, 3), "at least 3"),
        (angle_loss, (4, 3, 1), (4, 3, 1), "two matrices"),
    ],
)
def test_what_cannot_be_related_is_refused(loss, student, teacher, told):
    with pytest.raises(ValueError, match=told):
        loss(torch.zeros(student), torch.zeros(teacher))


# distil_with

SETTING = {"temperature": 2.0, "alpha": 1.0, "steps": 3, "seed": 0, "batch": 8, "learning_rate": 3e-3}


def networks():
    torch.manual_seed(0)
    return small_student(0), GlyphNet(10).eval().requires_grad_(False), torch.rand(12, 1, 32, 32)


def weights(network):
    return torch.cat([value.flatten() for value in network.state_dict().values()])


@pytest.mark.parametrize("inner", INNER)
def test_weight_zero_is_plain_distillation_and_a_weight_is_not(inner):
    student, teacher, images = networks()
    before = weights(teacher)
    plain = weights(distil(student, teacher, images, None, **SETTING))
    found = [
        weights(distil_with(networks()[0], teacher, images, None, inner=inner, weight=weight, **SETTING))
        for weight in (0.0, 10.0)
    ]
    assert torch.equal(found[0], plain)
    assert not torch.equal(found[1], plain)
    assert torch.equal(weights(teacher), before)


def test_attention_transfer_brings_the_maps_together():
    apart = []
    for weight in (0.0, 100.0):
        student, teacher, images = networks()
        distil_with(
            student, teacher, images, None, inner="attention", weight=weight, **(SETTING | {"steps": 30, "shift": 0})
        )
        with watching(student) as ours, watching(teacher) as theirs, torch.no_grad():
            student(images)
            teacher(images)
        apart.append(sum(attention_loss(ours[b], theirs[b]).item() for b in BLOCKS))
    assert apart[1] < apart[0]


def test_an_unknown_inner_loss_is_refused():
    student, teacher, images = networks()
    with pytest.raises(ValueError, match=r"unknown inner loss 'hints'.*'hint', 'attention', 'relations'"):
        distil_with(student, teacher, images, None, inner="hints", weight=1.0, **SETTING)
