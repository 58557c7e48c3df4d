import numpy as np
import pytest

from data_scripts.shifted import KINDS, shift_images

PICTURES = np.random.default_rng(0).random((23, 32, 32), dtype=np.float32)


def test_shape_range_and_type_stay():
    shifted, kinds = shift_images(PICTURES)
    assert shifted.shape == PICTURES.shape
    assert shifted.dtype == np.float32
    assert shifted.min() >= 0
    assert shifted.max() <= 1
    assert kinds.shape == (23,)


def test_every_picture_changes_and_the_kinds_are_dealt_evenly():
    shifted, kinds = shift_images(PICTURES)
    assert (np.abs(shifted - PICTURES).max(axis=(1, 2)) > 0.05).all()
    counts = np.bincount(kinds, minlength=len(KINDS))
    assert counts.max() - counts.min() <= 1


def test_the_seed_decides():
    first, again, other = (shift_images(PICTURES, seed=seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_each_kind_does_what_its_name_says():
    shifted, kinds = shift_images(PICTURES)
    by_kind = {name: kinds == index for index, name in enumerate(KINDS)}
    np.testing.assert_allclose(shifted[by_kind["negative"]], 1 - PICTURES[by_kind["negative"]], atol=1e-6)
    assert np.abs(shifted[by_kind["faint"]] - 0.5).max() <= 0.2 + 1e-6
    assert shifted[by_kind["blurred"]].std() < 0.5 * PICTURES[by_kind["blurred"]].std()
    assert 0.05 < np.abs(shifted - PICTURES)[by_kind["noisy"]].mean() < 0.25
    bar = np.zeros((5 * 8, 32, 32), np.float32)
    bar[:, 14:18, 4:28] = 1
    turned, which = shift_images(bar)
    assert (turned[which == 0][:, 14:18, 4:7].mean(axis=(1, 2)) < 0.2).all()  # its end has moved away


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(N, H, W\).*\(32, 32\)"):
        shift_images(PICTURES[0])
