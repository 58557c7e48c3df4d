"""Characters that a GlyphNet has not met, and the network that has not met them."""

import numpy as np
import pytest
import torch

from data_scripts.download import mirror_folder
from data_scripts.glyphnet_weights import read_letters
from data_scripts.pretrained_torch import load_glyphnet
from data_scripts.unseen_characters import (
    WITHOUT_LOOKALIKES,
    load_glyphnet_without_lookalikes,
    omniglot_unseen,
    printed_lookalikes,
)


def test_printed_lookalikes_were_not_among_the_letters_of_the_network():
    pictures, labels, names = printed_lookalikes(seed=0)
    assert (pictures.dtype, pictures.shape[1:]) == (np.uint8, (32, 32, 3))
    assert not set(names) & set(read_letters(WITHOUT_LOOKALIKES))
    assert np.bincount(labels).min() >= 8
    assert len(np.bincount(labels)) == len(names) > 100
    assert np.array_equal(pictures, printed_lookalikes(seed=0)[0])


def test_the_network_gives_the_features_of_its_file():
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = load_glyphnet(WITHOUT_LOOKALIKES).features(images.mean(dim=1, keepdim=True))
        found = load_glyphnet_without_lookalikes()(images)
    assert torch.allclose(found, expected, atol=1e-5)


def test_omniglot_is_left_its_alphabets_without_print(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path))
    if mirror_folder() is None:
        pytest.skip("WORKBOOK_MIRROR is not set: this test reads public data from a mirror folder")
    pictures, labels, names = omniglot_unseen()
    assert {name.split("/")[0] for name in names} == {"Balinese", "Early_Aramaic", "Korean"}
    assert np.bincount(labels).tolist() == [20] * 86
    assert pictures.shape == (1720, 32, 32, 3)
