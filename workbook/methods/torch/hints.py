"""What a teacher can teach besides its probabilities: inner maps, where it looks, how far rows lie from one another.

All losses are means over the batch and take the student's side first; the teacher's side gets no gradient. None of
them names a class, so all of them work on unlabelled images.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

from data_scripts.glyphnet_torch import GlyphNet
from workbook.methods.torch.distillation import distil

BLOCKS = ("block1", "block2", "block3")
"""The places of a GlyphNet that can be watched: maps of 16×16, 8×8 and 4×4 for 32×32 images."""

INNER = ("hint", "attention", "relations")
"""What `distil_with` can add to the teacher's probabilities."""


@contextmanager
def watching(network: GlyphNet) -> Iterator[dict[str, torch.Tensor]]:
    """Keep what the network's three `BLOCKS` put out: the dictionary is filled anew by every forward pass.

    Inside the ``with`` block it holds, by the block's name, maps ``(N, C, H, W)``, with their graph if there is one;
    ``maps["block3"].mean((2, 3))`` are the features. The forward hooks are taken off at the end.
    """
    maps: dict[str, torch.Tensor] = {}

    def keeper(name: str):
        def keep(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            maps[name] = output

        return keep

    handles = [network.get_submodule(name).register_forward_hook(keeper(name)) for name in BLOCKS]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


class Hint(nn.Module):
    """The hint loss of FitNets, ½ ‖t − r(s)‖² as a mean over batch, channels and places (Romero et al. 2015, eq. 3).

    The regressor r is a 1×1 convolution that maps the student's channels to the teacher's. It is trained with the
    student and thrown away afterwards: hand its parameters to the optimiser.
    """

    def __init__(self, student_channels: int, teacher_channels: int):
        super().__init__()
        self.regressor = nn.Conv2d(student_channels, teacher_channels, 1)

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Compare maps ``(N, C_s, H, W)`` with maps ``(N, C_t, H, W)``.

        Raises:
            ValueError: the maps differ in the number of rows or in height and width.
        """
        if len(student) != len(teacher) or student.shape[2:] != teacher.shape[2:]:
            raise ValueError(
                f"maps {tuple(student.shape)} and {tuple(teacher.shape)}: a 1×1 regressor mends different channels, "
                "not different rows or sizes"
            )
        return 0.5 * F.mse_loss(self.regressor(student), teacher.detach())


def attention_map(maps: torch.Tensor) -> torch.Tensor:
    """Return where the activations ``(N, C, H, W)`` are strong: ``(N, H·W)``, rows of Euclidean length 1.

    The squares are added over the channels, so maps of any number of channels can be compared; scaling an image's
    activations changes nothing (Zagoruyko and Komodakis 2017).
    """
    return F.normalize(maps.square().sum(dim=1).flatten(1), dim=1)


def attention_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the attention-transfer loss ‖a_s − a_t‖² of `attention_map`, a mean over the batch, in [0, 2].

    Equal to 2 − 2 cos(a_s, a_t). (The paper writes β/2 times the norm without the square; its authors' code squares.)

    Args:
        student: maps ``(N, C_s, H, W)``.
        teacher: maps ``(N, C_t, H, W)``.

    Raises:
        ValueError: the maps differ in the number of rows or in height and width.
    """
    if len(student) != len(teacher) or student.shape[2:] != teacher.shape[2:]:
        raise ValueError(f"maps {tuple(student.shape)} and {tuple(teacher.shape)}: only their channels may differ")
    return (attention_map(student) - attention_map(teacher.detach())).square().sum(dim=1).mean()


def _check_rows(student: torch.Tensor, teacher: torch.Tensor, least: int) -> None:
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher) or len(student) < least:
        raise ValueError(
            f"expected two matrices with the same rows, at least {least}: "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )


def _off_diagonal(square: torch.Tensor) -> torch.Tensor:
    return square[~torch.eye(len(square), dtype=torch.bool, device=square.device)]


def relative_distances(rows: torch.Tensor) -> torch.Tensor:
    """Return ‖h_i − h_j‖ / μ for all i ≠ j of rows ``(N, d)``, μ their mean: ``(N·(N − 1),)`` with mean 1.

    Unchanged when all rows are moved, rotated or scaled together. A distance below 1e-6 counts as 1e-6 and passes no
    gradient on: the root has none at 0.
    """
    squared = _off_diagonal((rows[:, None] - rows[None]).square().sum(dim=2))
    distances = squared.clamp(min=1e-12).sqrt()
    return distances / distances.mean()


def distance_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return RKD-D, the Huber loss between both sides' `relative_distances`, a mean over pairs (Park et al. 2019).

    Args:
        student: ``(N, d_s)``, at least 2 rows.
        teacher: ``(N, d_t)``; no regressor is needed, whatever the widths.

    Raises:
        ValueError: not two matrices with the same number of rows, at least 2.
    """
    _check_rows(student, teacher, 2)
    return F.smooth_l1_loss(relative_distances(student), relative_distances(teacher.detach()))


def angles(rows: torch.Tensor) -> torch.Tensor:
    """Return cos ∠(h_i h_j h_k), the angle at h_j, for all triples of different rows ``(N, d)``: ``(N(N−1)(N−2),)``.

    Unchanged when all rows are moved, rotated or scaled together. An angle with a side below 1e-6 has the cosine 0 and
    passes no gradient on along that side: the direction of a side of length 0 has none.
    """
    n = len(rows)
    sides = rows[None] - rows[:, None]  # [j, i]: from h_j to h_i
    towards = F.normalize(sides, dim=2) * (sides.detach().square().sum(dim=2, keepdim=True) > 1e-12)
    cosines = towards @ towards.transpose(1, 2)  # [j, i, k]
    j, i, k = torch.meshgrid(*[torch.arange(n, device=rows.device)] * 3, indexing="ij")
    return cosines[(i != j) & (j != k) & (i != k)]


def angle_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return RKD-A, the Huber loss between both sides' `angles`, a mean over triples (Park et al. 2019).

    Args:
        student: ``(N, d_s)``, at least 3 rows.
        teacher: ``(N, d_t)``.

    Raises:
        ValueError: not two matrices with the same number of rows, at least 3.
    """
    _check_rows(student, teacher, 3)
    return F.smooth_l1_loss(angles(student), angles(teacher.detach()))


def relational_loss(
    student: torch.Tensor, teacher: torch.Tensor, *, distance: float = 1.0, angle: float = 2.0
) -> torch.Tensor:
    """Return RKD-DA, ``distance`` · RKD-D + ``angle`` · RKD-A; the weights are 1 : 2 in Park et al. (2019)."""
    return distance * distance_loss(student, teacher) + angle * angle_loss(student, teacher)


def distil_with(
    student: GlyphNet,
    teacher: GlyphNet,
    images: torch.Tensor,
    labels: torch.Tensor | None,
    *,
    inner: str,
    weight: float,
    seed: int,
    **settings,
) -> GlyphNet:
    """Distil the teacher's probabilities and, added with a weight, one inner loss; joint training, no stages.

    ``"hint"`` compares the second blocks' maps through a `Hint`, whose regressor trains along; ``"attention"`` adds up
    `attention_loss` over the three blocks; ``"relations"`` is `relational_loss` of the pooled features.

    Args:
        student: changed in place.
        teacher: gets no gradient.
        images, labels: see `distil`; the inner losses use no label.
        inner: one of `INNER`.
        weight: β, the factor on the inner loss.
        seed: of the regressor, batches and shifts.
        settings: further arguments of `distil`: temperature, alpha, steps, learning_rate, …

    Raises:
        ValueError: an unknown inner loss; the message lists the choices.
    """
    if inner not in INNER:
        raise ValueError(f"unknown inner loss {inner!r}: expected one of {INNER}")
    parameters = list(student.parameters())
    if inner == "hint":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            hint = Hint(student.block2.conv2.out_channels, teacher.block2.conv2.out_channels)
        parameters += hint.parameters()

    with watching(student) as ours, watching(teacher) as theirs:

        def penalty(_: nn.Module) -> torch.Tensor:
            if inner == "hint":
                return weight * hint(ours["block2"], theirs["block2"])
            if inner == "attention":
                return weight * sum(attention_loss(ours[block], theirs[block]) for block in BLOCKS)
            return weight * relational_loss(ours["block3"].mean((2, 3)), theirs["block3"].mean((2, 3)))

        return distil(student, teacher, images, labels, seed=seed, parameters=parameters, penalty=penalty, **settings)
