"""All loaders start from an empty cache folder here: letters and photographs are rendered once for this module."""

import inspect
import time
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from data_scripts import photographs
from data_scripts.breast_cancer import feature_names, load_breast_cancer
from data_scripts.faces import load_faces
from data_scripts.glyphs import (
    MIN_FACES,
    READ_AS_DIGITS,
    SAME_SHAPE,
    digit_likeness,
    digit_lookalikes,
    glyph_arrays,
    letter_faces,
    load_glyphs,
    render,
)
from data_scripts.handwriting import load_handwriting
from data_scripts.photo_digits import CONTRAST, blend, load_photo_digits
from data_scripts.photographs import labelled_patches, photo_patches
from data_scripts.printed_digits import load_printed_digits
from data_scripts.which_photo import load_which_photo

LOADERS = {
    "glyphs": load_glyphs,
    "handwriting": load_handwriting,
    "photo_digits": load_photo_digits,
    "printed_digits": load_printed_digits,
    "faces": load_faces,
    "breast_cancer": load_breast_cancer,
    "which_photo": load_which_photo,
}
SHAPES = {
    "glyphs": (None, 32, 32),
    "handwriting": (1797, 32, 32),
    "photo_digits": (1797, 32, 32),
    "printed_digits": (1120, 32, 32),
    "faces": (200, 32, 32),
    "breast_cancer": (569, 30),
    "which_photo": (4000, 32, 32),
}
TEN_DIGITS = tuple("0123456789")
CLASS_NAMES = {
    "handwriting": TEN_DIGITS,
    "photo_digits": TEN_DIGITS,
    "printed_digits": TEN_DIGITS,
    "faces": ("not a face", "face"),
    "breast_cancer": ("malignant", "benign"),
    "which_photo": ("palace", "flower"),
}
IMAGES = [name for name in LOADERS if name != "breast_cancer"]
SPLIT_IN_HALF = [name for name in LOADERS if name != "glyphs"]

every_loader = pytest.mark.parametrize("name", LOADERS)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBOOK_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def first_loads(cache):
    """What every loader returned when the cache was empty."""
    assert not list(cache.iterdir())
    return {name: load() for name, load in LOADERS.items()}


@pytest.fixture(scope="module")
def letters(first_loads):
    return first_loads["glyphs"]


@every_loader
def test_inputs_have_the_documented_shape_and_dtype(first_loads, name):
    task = first_loads[name]
    assert task.name == name
    assert task.inputs.shape[1:] == SHAPES[name][1:]
    assert SHAPES[name][0] in (None, len(task.inputs))
    assert task.inputs.dtype == np.float32
    assert np.isfinite(task.inputs).all()


@pytest.mark.parametrize("name", IMAGES)
def test_images_use_the_range_from_0_to_1(first_loads, name):
    images = first_loads[name].inputs
    assert 0 <= images.min() < 0.05
    assert 0.95 < images.max() <= 1
    if name != "faces":  # among its pictures without a face is one of nothing but shade
        assert (np.ptp(images, axis=(1, 2)) > 0.2).all(), "no picture is blank"


@pytest.mark.parametrize("name", ["glyphs", "handwriting", "printed_digits"])
def test_ink_is_bright_on_dark(first_loads, name):
    images = first_loads[name].inputs
    corners = images[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.mean() < 0.1 < images[:, 8:24, 8:24].mean()


@every_loader
def test_labels_number_the_classes_from_0(first_loads, name):
    task = first_loads[name]
    assert task.labels.dtype == np.int64
    assert task.labels.shape == (len(task.inputs),)
    np.testing.assert_array_equal(np.unique(task.labels), np.arange(len(task.class_names)))


@every_loader
def test_class_names_are_distinct_words(first_loads, name):
    names = first_loads[name].class_names
    assert isinstance(names, tuple)
    assert all(type(word) is str and word for word in names)
    assert len(set(names)) == len(names)
    assert names == CLASS_NAMES.get(name, names)


@every_loader
def test_the_three_splits_partition_the_rows(first_loads, name):
    task = first_loads[name]
    parts = (task.train, task.validation, task.test)
    assert all(part.dtype == np.int64 for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(task.labels)))
    for part in parts:
        assert set(task.labels[part]) == set(task.labels), "every class is in every split"


@pytest.mark.parametrize("name", SPLIT_IN_HALF)
def test_half_of_the_rows_are_for_training(first_loads, name):
    task = first_loads[name]
    shares = [len(part) / len(task.labels) for part in (task.train, task.validation, task.test)]
    np.testing.assert_allclose(shares, [0.5, 0.15, 0.35], atol=0.01)


@every_loader
def test_a_loader_called_again_gives_the_same_task(first_loads, name):
    first, again = first_loads[name], LOADERS[name]()
    assert again.class_names == first.class_names
    for field in ("inputs", "labels", "train", "validation", "test"):
        np.testing.assert_array_equal(getattr(again, field), getattr(first, field))


@every_loader
def test_another_split_seed_gives_other_rows_of_the_same_data(first_loads, name):
    first, other = first_loads[name], LOADERS[name](split_seed=1)
    np.testing.assert_array_equal(other.inputs, first.inputs)
    np.testing.assert_array_equal(other.labels, first.labels)
    for part in ("train", "validation", "test"):
        assert not np.array_equal(getattr(other, part), getattr(first, part))


@every_loader
def test_a_cached_load_takes_less_than_half_a_second(first_loads, name):
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        LOADERS[name]()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


@every_loader
def test_loaders_are_called_in_one_style(name):
    load = LOADERS[name]
    parameters = inspect.signature(load).parameters
    assert load.__name__ == f"load_{name}"
    assert next(iter(parameters)) == "split_seed"
    assert parameters["split_seed"].default == 0
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    documentation = inspect.getdoc(load)
    assert "float32" in documentation
    assert all(f"{parameter}:" in documentation for parameter in parameters)


# Letters


def classes_of(characters):
    """The class that each character was merged into."""
    groups = list(glyph_arrays()["letters"])
    return [next(i for i, group in enumerate(groups) if character in group) for character in characters]


def test_there_are_at_least_300_letter_classes(letters):
    assert len(letters.class_names) >= 300


@pytest.mark.usefixtures("letters")
def test_no_digit_of_any_script_is_among_the_letters():
    merged = "".join(glyph_arrays()["letters"])
    for character in merged:
        assert unicodedata.category(character) not in ("Nd", "Nl", "No")
        for plain in unicodedata.normalize("NFKC", character):
            assert unicodedata.decimal(plain, None) is None
    assert len(set(merged)) == len(merged), "a character belongs to one class"


@pytest.mark.usefixtures("letters")
def test_letters_that_render_the_same_are_one_class():
    assert len(set(classes_of("AΑА"))) == 1  # Latin, Greek, Cyrillic
    assert len(set(classes_of("oοо"))) == 1
    assert len(set(classes_of("BΒВ"))) == 1
    assert len(set(classes_of("ABОoЖЯΩ"))) == 7, "letters of other shapes stay apart"


@pytest.mark.usefixtures("letters")
def test_no_two_classes_render_the_same_in_most_of_their_faces():
    arrays = glyph_arrays()
    classes, faces = len(arrays["letters"]), len(letter_faces())
    shared, same = np.zeros((2, classes, classes), int)
    for face in range(faces):
        rows = np.flatnonzero(arrays["faces"] == face)
        pictures, labels = arrays["images"][rows].astype(np.float32) / 255, arrays["labels"][rows]
        shared[np.ix_(labels, labels)] += 1
        # Means over 4×4 blocks differ by no more than the pixels do: they find every pair worth a closer look.
        coarse = pictures.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)).reshape(-1, 64)
        for i, j in np.argwhere(np.triu(cdist(coarse, coarse, "cityblock") / 64 < SAME_SHAPE, 1)):
            same[labels[i], labels[j]] += np.abs(pictures[i] - pictures[j]).mean() < SAME_SHAPE
    assert same.any(), "some pairs are alike in some face, otherwise this test looks at nothing"
    alike = [(arrays["letters"][i], arrays["letters"][j]) for i, j in np.argwhere((same > 0) & (2 * same >= shared))]
    assert alike == []


def test_every_letter_stands_in_at_least_eight_faces(letters):
    arrays = glyph_arrays()
    held = np.zeros((len(letters.class_names), len(letter_faces())), int)
    np.add.at(held, (arrays["labels"], arrays["faces"]), 1)
    assert held.max() == 1, "a class has one picture a face"
    assert held.sum(axis=1).min() >= MIN_FACES == 8


def test_the_placeholder_font_is_not_used():
    names = [face.stem for face in letter_faces()]
    assert len(names) >= MIN_FACES
    assert not [name for name in names if "lastresort" in name.lower()]
    shapes = {render(letter, letter_faces()[0]).tobytes() for letter in "AbЖΩ"}
    assert len(shapes) == 4


def test_a_high_letter_fills_its_box_and_is_centred():
    picture = render("b", letter_faces()[0], box=20)  # higher than wide
    rows, columns = (np.flatnonzero(picture.any(axis=axis)) for axis in (1, 0))
    assert (picture.shape, picture.dtype, picture.max()) == ((32, 32), np.uint8, 255)
    assert rows[-1] - rows[0] + 1 == 20
    assert abs(rows[0] + rows[-1] - 31) <= 1
    assert abs(columns[0] + columns[-1] - 31) <= 1


def test_a_space_renders_as_nothing():
    assert not render(" ", letter_faces()[0]).any()


@pytest.mark.usefixtures("letters")
def test_letters_that_look_like_digits_are_known():
    left_out = set(digit_lookalikes())
    assert {"O", "o", "l", "I", "З"} <= left_out
    assert not {"W", "m", "Ж", "A", "E"} & left_out
    names = [group[0] for group in glyph_arrays()["letters"]]
    assert {names[label] for label in classes_of(READ_AS_DIGITS)} <= left_out
    assert len(set(names) - left_out) > 300, "what is left still makes a source task"


@pytest.mark.usefixtures("letters")
def test_likeness_orders_letters_as_a_reader_would():
    likeness = digit_likeness()
    assert max(likeness.values()) <= 1 + 1e-6
    assert min(likeness[letter] for letter in "OlЗ") > 0.65 > max(likeness[letter] for letter in "WmЖ")
    assert set(digit_lookalikes(threshold=0.9)) < set(digit_lookalikes(threshold=0.5))


# Handwriting and photo_digits


def rows_of(images):
    return [image.tobytes() for image in images]


@pytest.mark.parametrize("load", [load_handwriting, load_photo_digits])
def test_the_two_parts_share_no_digit(load):
    first, second, everything = (load(part=part) for part in ("first", "second", "all"))
    assert len(first.labels) + len(second.labels) == 1797
    assert abs(len(first.labels) - len(second.labels)) <= 1
    assert sorted(rows_of(first.inputs) + rows_of(second.inputs)) == sorted(rows_of(everything.inputs))
    # scikit-learn's digits hold no picture twice, so a picture tells its row.
    assert len(set(rows_of(everything.inputs))) == 1797
    assert not set(rows_of(first.inputs)) & set(rows_of(second.inputs))


@pytest.mark.parametrize("part", ["all", "first", "second"])
def test_row_i_is_the_same_digit_in_handwriting_and_photo_digits(part):
    plain, photo = load_handwriting(split_seed=3, part=part), load_photo_digits(split_seed=3, part=part)
    for field in ("labels", "train", "validation", "test"):
        np.testing.assert_array_equal(getattr(plain, field), getattr(photo, field))
    # Full ink is one grey level, and the photograph shows where there is none: rows pair by picture, not only by label.
    inked = [row for row in range(0, len(plain.labels), 5) if (plain.inputs[row] == 1).sum() > 5]
    assert len(inked) > 50
    for row in inked:
        ink = plain.inputs[row] == 1
        assert np.ptp(photo.inputs[row][ink]) < 1e-6 < np.ptp(photo.inputs[row][~ink])


def test_another_seed_halves_the_digits_otherwise():
    first, other = (load_handwriting(split_seed=seed, part="first") for seed in (0, 1))
    assert set(rows_of(first.inputs)) != set(rows_of(other.inputs))


@pytest.mark.parametrize("load", [load_handwriting, load_photo_digits])
def test_a_wrong_part_names_the_choices(load):
    with pytest.raises(ValueError, match="part='third': expected 'all', 'first' or 'second'"):
        load(part="third")


def test_blending_draws_ink_away_from_the_mean_of_its_patch():
    patches = np.concatenate([np.full((50, 4, 4), 0.2), np.full((50, 4, 4), 0.7)]).astype(np.float32)
    ink = np.zeros((100, 4, 4), np.float32)
    ink[:, 0, 0], ink[:, 1, 1] = 1, 0.5
    blended = blend(ink, patches, seed=0)
    change = blended - patches
    assert (change[:50, 0, 0] >= CONTRAST[0] - 1e-6).all(), "brighter than a dark patch"
    assert (change[50:, 0, 0] <= -CONTRAST[0] + 1e-6).all(), "darker than a bright one"
    np.testing.assert_allclose(change[:, 1, 1], change[:, 0, 0] / 2, atol=1e-6)
    assert not change[:, 2:, 2:].any(), "without ink the patch stays"
    assert blended.min() >= 0
    assert blended.max() <= 1


# Photographs


@pytest.fixture
def photographs_are(monkeypatch):
    """Put other photographs in the place of scikit-learn's."""

    def replace(*images):
        photographs._grey_halves.cache_clear()
        monkeypatch.setattr(photographs, "load_sample_images", lambda: SimpleNamespace(images=images))

    yield replace
    photographs._grey_halves.cache_clear()


def test_patches_of_the_two_halves_share_no_pixel(photographs_are):
    marked = np.zeros((427, 640, 3), np.uint8)
    marked[:, 320:] = 255
    photographs_are(marked, marked)
    assert set(np.unique(photo_patches(500, half="pretraining", seed=0))) == {0}
    assert set(np.unique(photo_patches(500, half="task", seed=0))) == {255}


@pytest.mark.parametrize("half", photographs.HALVES)
def test_a_patch_is_labelled_with_its_photograph(photographs_are, half):
    photographs_are(*(np.full((427, 640, 3), grey, np.uint8) for grey in (10, 200)))
    patches, labels = labelled_patches(300, half=half, seed=0)
    np.testing.assert_array_equal(patches.max(axis=(1, 2)), np.where(labels == 0, 10, 200))
    assert 100 < labels.sum() < 200


def test_patches_come_from_both_photographs_at_many_places():
    patches = photo_patches(200, half="task", seed=0)
    assert (patches.shape, patches.dtype) == ((200, 32, 32), np.uint8)
    assert len(set(rows_of(patches))) == 200
    np.testing.assert_array_equal(patches, photo_patches(200, half="task", seed=0))
    assert not np.array_equal(patches, photo_patches(200, half="task", seed=1))


def test_the_halves_of_the_real_photographs_have_their_full_width():
    halves = photographs._grey_halves()
    assert {half.size for half in halves["pretraining"] + halves["task"]} == {(320, 427)}
    assert len(halves["pretraining"]) == len(halves["task"]) == 2


def test_a_wrong_half_names_the_choices():
    with pytest.raises(ValueError, match=r"half='left': expected one of \('pretraining', 'task'\)"):
        photo_patches(1, half="left", seed=0)


# Printed digits, faces, the table


def test_printed_digits_are_as_many_for_every_class_and_differ_in_size(first_loads):
    task = first_loads["printed_digits"]
    assert np.bincount(task.labels).tolist() == [112] * 10
    heights = {int(np.ptp(np.flatnonzero(image.any(axis=1)))) + 1 for image in task.inputs}
    assert {20, 26, 32} <= heights


def test_the_first_hundred_pictures_are_the_faces(first_loads):
    labels = first_loads["faces"].labels
    assert labels[:100].tolist() == [1] * 100
    assert labels[100:].tolist() == [0] * 100


def test_faces_are_more_alike_than_other_patches(first_loads):
    task = first_loads["faces"]
    spread = [task.inputs[task.labels == label].std(axis=0).mean() for label in (1, 0)]
    assert spread[0] < 0.8 * spread[1]


def test_the_table_has_published_class_counts_and_named_columns(first_loads):
    task = first_loads["breast_cancer"]
    assert np.bincount(task.labels).tolist() == [212, 357]
    assert len(feature_names()) == 30
    assert feature_names()[0] == "mean radius"
    assert task.inputs[0, 0] == np.float32(17.99)
