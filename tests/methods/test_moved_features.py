"""Aligned subspaces and rows carried by a transport plan."""

import numpy as np
import pytest

from workbook.methods.moved_features import carried_rows, subspace_alignment


@pytest.fixture
def samples():
    chance = np.random.default_rng(0)
    source = chance.normal(size=(60, 6)) * [5, 3, 1, 0.1, 0.1, 0.1] + 2
    return source, chance.normal(size=(50, 6)) * [5, 3, 1, 0.1, 0.1, 0.1] - 1


def test_subspace_of_equal_samples_is_one_map(samples):
    of_source, of_target = subspace_alignment(samples[0], samples[0], 3)
    np.testing.assert_allclose(of_source(samples[0]), of_target(samples[0]), atol=1e-9)


def test_subspace_is_the_formula_and_undoes_a_change_of_sign(samples):
    source, target = samples
    of_source, of_target = subspace_alignment(source, target, 2)
    P, Q = (np.linalg.svd(x - x.mean(0))[2][:2].T for x in samples)
    np.testing.assert_allclose(of_source(source), (source - source.mean(0)) @ P @ P.T @ Q, atol=1e-9)
    np.testing.assert_allclose(of_target(target), (target - target.mean(0)) @ Q, atol=1e-9)


@pytest.mark.parametrize("dimensions", [0, 7])
def test_subspace_of_wrong_size_is_refused(samples, dimensions):
    with pytest.raises(ValueError, match="at most 6 dimensions"):
        subspace_alignment(*samples, dimensions)


def test_carried_rows_undo_a_shift_and_stay_in_the_hull(samples):
    source = samples[0]
    carried = carried_rows(source, source + 10, strength=0.02)
    assert np.abs(carried - source - 10).mean() < 0.3 * np.abs(source - source.mean(0)).mean() + 0.3
    assert (carried.max(0) <= source.max(0) + 10 + 1e-9).all()
    assert (carried.min(0) >= source.min(0) + 10 - 1e-9).all()


def test_a_strong_entropy_carries_all_rows_to_the_mean(samples):
    carried = carried_rows(*samples, strength=1000)
    np.testing.assert_allclose(carried, np.tile(samples[1].mean(0), (60, 1)), atol=0.05)


def test_carried_rows_refuse_wrong_input(samples):
    with pytest.raises(ValueError, match="strength above 0"):
        carried_rows(*samples, strength=0)
    with pytest.raises(ValueError, match="the same width"):
        carried_rows(samples[0], samples[1][:, :4])
