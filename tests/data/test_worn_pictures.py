"""Damage to pictures, and digits cut to their ink."""

import numpy as np
import pytest

from data_scripts.worn_pictures import blurred, foggy, noisy, to_box


@pytest.fixture
def images():
    return np.random.default_rng(0).random((3, 2, 32, 32), dtype=np.float32)


def test_no_damage_at_level_zero(images):
    for damaged in (noisy(images, 0, seed=0), foggy(images, 0), blurred(images, 0)):
        np.testing.assert_allclose(damaged, images, atol=1e-6)


def test_noise_has_its_deviation_and_its_seed():
    grey = np.full((8, 1, 32, 32), 0.5, np.float32)
    noise = noisy(grey, 0.1, seed=3) - grey
    assert noise.std() == pytest.approx(0.1, rel=0.05)
    np.testing.assert_array_equal(noisy(grey, 0.1, seed=3), noise + grey)
    assert not np.array_equal(noisy(grey, 0.1, seed=4), noise + grey)


def test_fog_mixes_with_white(images):
    np.testing.assert_allclose(foggy(images, 0.75), 0.25 * images + 0.75, atol=1e-6)


def test_blur_keeps_the_mean_and_mixes_neither_pictures_nor_channels(images):
    smooth = blurred(images, 2)
    np.testing.assert_allclose(smooth.mean((2, 3)), images.mean((2, 3)), atol=0.02)
    assert (smooth.std((2, 3)) < images.std((2, 3))).all()
    np.testing.assert_allclose(blurred(images[:1, :1], 2), smooth[:1, :1], atol=1e-6)


@pytest.mark.parametrize("damage", [foggy, blurred])
def test_wrong_input_is_refused(images, damage):
    with pytest.raises(ValueError, match="at least 0"):
        damage(images, -1)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        damage(255 * images, 0.5)
    with pytest.raises(ValueError, match="expected"):
        damage(images[0], 0.5)


def test_fog_above_one_is_refused(images):
    with pytest.raises(ValueError, match="share of white"):
        foggy(images, 1.5)


def test_box_is_centred_and_full_wherever_the_digit_stood():
    images = np.zeros((2, 1, 32, 32), np.float32)
    images[0, 0, 3:13, 4:9] = 1
    images[1, 0, 17:27, 20:25] = 1
    boxed = to_box(images, side=20)
    np.testing.assert_array_equal(boxed[0], boxed[1])
    rows, columns = (np.flatnonzero((boxed[0, 0] > 0.5).any(axis)) for axis in (1, 0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (6, 25, 11, 20)


def test_box_leaves_an_empty_picture_and_its_input_alone():
    images = np.zeros((1, 1, 32, 32), np.float32)
    np.testing.assert_array_equal(to_box(images), images)
    with pytest.raises(ValueError, match="one channel and a box that fits"):
        to_box(images, side=40)
