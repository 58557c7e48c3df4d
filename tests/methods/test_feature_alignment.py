import numpy as np
import pytest
import torch

from workbook.methods.alignment import gaussian_kernel, kernel_widths, mmd2_unbiased
from workbook.methods.torch.feature_alignment import kernel, mmd_map

pytestmark = pytest.mark.usefixtures("one_thread")


def two_samples(shift=0.5, d=4):
    source, target = np.random.default_rng(0).normal(size=(2, 150, d))
    return source, 0.5 * target + shift


def test_kernel_is_the_one_in_numpy():
    source, target = two_samples()
    found = kernel(torch.tensor(source), torch.tensor(target), (0.5, 2.0)).numpy()
    np.testing.assert_allclose(found, gaussian_kernel(source, target, (0.5, 2.0)), atol=1e-12)


def test_the_map_brings_the_distance_to_noise():
    source, target = two_samples()
    widths = kernel_widths(source, target)
    before = mmd2_unbiased(source, target, widths)
    moved = mmd_map(source, target, seed=0)(source)
    assert mmd2_unbiased(moved, target, widths) < 0.05 * before
    np.testing.assert_allclose(moved.mean(axis=0), target.mean(axis=0), atol=0.15)


def test_same_seed_same_map_and_another_seed_another():
    source, target = two_samples()
    first, again, other = (mmd_map(source, target, seed=seed, steps=5).matrix for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_sample_smaller_than_the_batch_is_used_whole():
    source, target = two_samples()
    assert mmd_map(source[:20], target, seed=0, steps=3)(source).shape == source.shape


def test_unfit_input_is_refused():
    source, target = two_samples()
    with pytest.raises(ValueError, match="same d"):
        mmd_map(source, target[:, :3], seed=0)
