"""Turns clean letters into varied pictures: warp, thickness, blur, photograph backgrounds, inverted contrast.

Everything works on a whole batch of tensors, so that it costs a small share of a training step.
"""

import torch
from torch.nn import functional as F

LARGEST_TURN = 0.30
"""Radians: letters are turned by up to about 17 degrees, so that a p stays a p."""


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def warp(ink: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Scale, shear, turn, move and bend each ``(N, 1, H, W)`` picture at random (empty where nothing was)."""
    n = len(ink)
    turn = _uniform((n,), -LARGEST_TURN, LARGEST_TURN, generator)
    shear = _uniform((n,), -0.35, 0.35, generator)
    wide, high = (1 / _uniform((n,), 0.8, 1.4, generator) for _ in range(2))
    matrix = torch.zeros(n, 2, 3)
    matrix[:, 0, 0] = wide * turn.cos()
    matrix[:, 0, 1] = wide * (shear * turn.cos() - turn.sin())
    matrix[:, 1, 0] = high * turn.sin()
    matrix[:, 1, 1] = high * (shear * turn.sin() + turn.cos())
    matrix[:, :, 2] = _uniform((n, 2), -0.15, 0.15, generator)
    grid = F.affine_grid(matrix, list(ink.shape), align_corners=False)
    # A 4×4 field of random displacements (in units of half the picture), smoothly interpolated: strokes bend.
    strength = _uniform((n, 1, 1, 1), 0.0, 0.18, generator)
    bend = F.interpolate(torch.randn(n, 2, 4, 4, generator=generator) * strength, size=ink.shape[2:], mode="bicubic")
    return F.grid_sample(ink, grid + bend.permute(0, 2, 3, 1), align_corners=False)


def change_thickness(ink: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Thicken (dilate) a third of the pictures, thin (erode) a third, each by a random share; leave the rest."""
    amount = _uniform((len(ink), 1, 1, 1), -1.5, 1.5, generator)
    thick = F.max_pool2d(ink, 3, stride=1, padding=1)
    thin = -F.max_pool2d(-ink, 3, stride=1, padding=1)
    more, less = (amount - 0.5).clamp(0, 1), (-amount - 0.5).clamp(0, 1) * 0.8
    return ink + more * (thick - ink) + less * (thin - ink)


def blur(ink: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Reduce each picture to 8, 11 or 16 pixels a side and enlarge it again, or leave it sharp (one of four)."""
    blurred = torch.empty_like(ink)
    choice = torch.randint(0, 4, (len(ink),), generator=generator)
    for index, side in enumerate((8, 11, 16, None)):
        rows = choice == index
        part = ink[rows]
        if side and len(part):
            small = F.interpolate(part, size=(side, side), mode="area")
            part = F.interpolate(small, size=ink.shape[2:], mode="bilinear", align_corners=False)
        blurred[rows] = part
    return blurred


def paint(ink: torch.Tensor, patches: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Put the ink on a background: half plain, half a photograph's patch; bright on dark or dark on bright.

    Args:
        ink: ``(N, 1, H, W)`` opacity in [0, 1].
        patches: ``(M, 1, H, W)`` grey values in [0, 1], drawn from with replacement.
        generator: of every choice.
    """
    n = len(ink)
    background = patches[torch.randint(0, len(patches), (n,), generator=generator)]
    mean = background.mean(dim=(1, 2, 3), keepdim=True)
    plain = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
    level = _uniform((n, 1, 1, 1), 0.0, 1.0, generator) ** 2
    inverted = torch.rand(n, 1, 1, 1, generator=generator) < 0.25
    level = torch.where(inverted, 1 - level, level)
    background, mean = torch.where(plain, level, background), torch.where(plain, level, mean)
    contrast = _uniform((n, 1, 1, 1), 0.35, 1.0, generator)
    grey = torch.where(mean > 0.5, mean - contrast, mean + contrast).clamp(0, 1)
    return (1 - ink) * background + ink * grey


def augment(ink: torch.Tensor, patches: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Apply warp, thickness, blur and paint in that order, then a little noise: ``(N, 1, H, W)`` in [0, 1]."""
    ink = blur(change_thickness(warp(ink, generator), generator), generator)
    picture = paint(ink, patches, generator)
    noise = torch.randn(picture.shape, generator=generator) * _uniform((len(ink), 1, 1, 1), 0, 0.04, generator)
    return (picture + noise).clamp(0, 1)
