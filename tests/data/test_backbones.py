import pytest

from data_scripts.backbones import BACKBONES, find_backbone, table
from data_scripts.errors import BackboneError


def test_a_backbone_is_found_by_name_and_framework():
    assert find_backbone("squeezenet", "torch").size == 224
    assert find_backbone("resnet50", "keras").keras == "ResNet50"


def test_one_that_the_framework_lacks_is_a_clear_error():
    with pytest.raises(
        BackboneError, match=r"'vit_b_16' is there for PyTorch only; Keras has glyphnet, squeezenet, resnet50"
    ):
        find_backbone("vit_b_16", "keras")


def test_an_unknown_one_is_a_clear_error():
    with pytest.raises(BackboneError, match=r"'resnet81' is unknown; PyTorch has glyphnet, squeezenet, resnet18"):
        find_backbone("resnet81", "torch")


def test_the_table_shows_every_backbone_and_who_has_it():
    lines = table().splitlines()
    assert len(lines) == 2 + len(BACKBONES)
    assert "| `vit_b_16` | 224 × 224 | yes | – | – |" in lines
    assert "| `dinov2_small` | 224 × 224 | with `timm` | – | – |" in lines
