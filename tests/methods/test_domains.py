import numpy as np
import pytest
import torch

from data_scripts.handwriting import load_handwriting, rows_of_part
from data_scripts.photo_digits import load_photo_digits
from workbook.methods.torch.domains import PAIRS, load_pair, train_source

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pairs():
    return {name: load_pair(name, split_seed=3) for name in PAIRS}


def pictures(images):
    return {image.numpy().tobytes() for image in images}


@pytest.mark.parametrize("name", PAIRS)
def test_images_and_labels_fit(pairs, name):
    pair = pairs[name]
    labelled = ("source", "source_validation", "target_validation", "target_test")
    for part in (*labelled, "target"):
        images = getattr(pair, f"{part}_images")
        assert images.shape[1:] == (1, 32, 32)
        assert images.is_contiguous(memory_format=torch.channels_last)
    for part in labelled:
        labels = getattr(pair, f"{part}_labels")
        assert len(labels) == len(getattr(pair, f"{part}_images"))
        assert labels.dtype == torch.int64
        assert set(labels.tolist()) == set(range(10))


@pytest.mark.parametrize("name", PAIRS)
def test_labels_of_the_rows_to_adapt_to_are_not_there(pairs, name):
    assert not hasattr(pairs[name], "target_labels")


def test_the_two_halves_of_the_writing_share_no_digit(pairs):
    """Row i of both data sets shows digit i, so the picture itself cannot show it: the row numbers must."""
    first, second = (rows_of_part(1797, part, seed=3) for part in ("first", "second"))
    assert not set(first) & set(second)
    pair = pairs["handwriting to photo_digits"]
    source, target = load_handwriting(split_seed=3), load_photo_digits(split_seed=3)
    from_first = {image.tobytes() for image in source.inputs[first]}
    from_second = {image.tobytes() for image in target.inputs[second]}
    assert pictures(pair.source_images) | pictures(pair.source_validation_images) <= from_first
    for images in (pair.target_images, pair.target_validation_images, pair.target_test_images):
        assert pictures(images) <= from_second


@pytest.mark.parametrize("name", PAIRS)
def test_test_rows_are_not_adapted_to(pairs, name):
    pair = pairs[name]
    sizes = [len(getattr(pair, f"target{part}_images")) for part in ("", "_validation", "_test")]
    assert sum(sizes) == (1797 if name == PAIRS[0] else 899)
    assert np.allclose(np.divide(sizes, sum(sizes)), [0.5, 0.15, 0.35], atol=0.01)
    parts = [pictures(getattr(pair, f"target{part}_images")) for part in ("", "_validation", "_test")]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_another_split_is_another():
    one, other = (load_pair(PAIRS[0], split_seed=seed) for seed in (0, 1))
    assert not torch.equal(one.target_test_images, other.target_test_images)


def test_an_unknown_pair_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'letters to digits' is unknown; expected one of 'printed"):
        load_pair("letters to digits")


def test_train_source_is_seeded_and_ready_to_predict(pairs):
    pair = pairs[PAIRS[1]]
    first, again, other = (train_source(pair, seed=seed, steps=2) for seed in (0, 0, 1))
    assert not first.training
    assert first.head.out_features == 10
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.head.weight, other.head.weight)
