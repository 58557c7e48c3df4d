"""Which pictures and which backbone a lesson on photographs gets."""

import numpy as np
import pytest
from PIL import Image

from data_scripts.errors import ImageFolderError
from data_scripts.photo_digits import load_photo_digits
from data_scripts.pictures import choose_backbone, load_pictures


@pytest.fixture
def own(tmp_path):
    """A learner's folder: six red and six blue squares."""
    for name, colour in (("red", (200, 30, 30)), ("blue", (20, 40, 220))):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (40 + i, 50), tuple(c + i for c in colour)).save(tmp_path / "mine" / name / f"{i}.png")
    return tmp_path / "mine"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"profile": "quick"}, "glyphnet"),
        ({"profile": "public"}, "squeezenet"),
        ({"profile": "gpu"}, "resnet50"),
        ({"profile": "quick", "data_dir": "mine"}, "squeezenet"),
        ({"profile": "gpu", "data_dir": "mine"}, "resnet50"),
        ({"profile": "quick", "data_dir": "mine", "backbone": "vgg16"}, "vgg16"),
    ],
)
def test_backbone(arguments, name):
    assert choose_backbone(**arguments) == name


def test_quick_pictures_are_photo_digits_as_colours():
    task, grey = load_pictures("quick", size=32), load_photo_digits()
    assert task.inputs.shape == (1797, 32, 32, 3)
    assert task.inputs.dtype == np.uint8
    assert np.abs(task.inputs.mean(axis=-1) / 255 - grey.inputs).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(task.test, grey.test)
    assert len(task.paths) == len(task.labels)


def test_quick_pictures_have_one_size():
    with pytest.raises(ValueError, match="wants 224: use glyphnet"):
        load_pictures("quick", size=224)


def test_own_pictures_win_over_the_profile(own):
    task = load_pictures("quick", size=16, data_dir=str(own))
    assert task.class_names == ("blue", "red")
    assert task.inputs.shape == (12, 16, 16, 3)


def test_fewer_of_a_class_can_be_read(own):
    assert len(load_pictures("quick", size=16, data_dir=str(own), per_class=4).labels) == 8


def test_a_relative_folder_is_looked_for_from_the_working_directory(own, monkeypatch):
    monkeypatch.chdir(own.parent)
    assert len(load_pictures("quick", size=16, data_dir="mine").labels) == 12


def test_a_missing_folder_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageFolderError, match=r"'nowhere' is no folder; looked at .*nowhere and .*nowhere\."):
        load_pictures("quick", size=16, data_dir="nowhere")


def test_unknown_and_contradictory_names():
    with pytest.raises(ValueError, match=r"'ants' is unknown: expected one of photo_digits, ants_bees"):
        load_pictures("public", size=224, data="ants")
    with pytest.raises(ValueError, match="both given"):
        load_pictures("public", size=224, data="amazon", data_dir="mine")
