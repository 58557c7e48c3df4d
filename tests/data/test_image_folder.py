import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data_scripts.errors import ImageFolderError
from data_scripts.image_folder import decode, read_image_folder
from data_scripts.task import sample_k_shot

RED, BLUE = (200, 30, 30), (30, 30, 200)


def paint(path, colour, *, seed=0, size=(40, 30)):
    """Save a picture of one colour with something in the middle that depends on the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, colour)
    noise = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    picture.paste(Image.fromarray(noise), (size[0] // 2 - 4, size[1] // 2 - 4))
    picture.save(path)
    return path


def fill(folder, n=8, **classes):
    for name, colour in (classes or {"cats": RED, "dogs": BLUE}).items():
        for i in range(n):
            paint(folder / name / f"{i:02}.png", colour, seed=i)
    return folder


def given_parts(folder, *parts, n=8):
    for number, part in enumerate(parts):
        for name, colour in {"cats": RED, "dogs": BLUE}.items():
            for i in range(n):
                paint(folder / part / name / f"{i}.png", colour, seed=100 * number + i)
    return folder


def test_one_folder_a_class_is_split_and_labelled_by_folder(tmp_path):
    task = read_image_folder(fill(tmp_path, n=20), size=16)
    assert task.inputs.shape == (40, 16, 16, 3)
    assert task.inputs.dtype == np.uint8
    assert task.class_names == ("cats", "dogs")
    assert [path.split("/")[0] for path in task.paths] == [task.class_names[label] for label in task.labels]
    assert (len(task.train), len(task.validation), len(task.test)) == (20, 6, 14)
    assert task.inputs[task.labels == 1, 0, 0, 2].min() > 150
    assert len(sample_k_shot(task, 3, seed=0)) == 6


def test_rows_are_as_the_folders_say(tmp_path):
    task = read_image_folder(given_parts(tmp_path, "train", "val", "test"), size=16)
    for part, folder in (("train", "train"), ("validation", "val"), ("test", "test")):
        assert {task.paths[row].split("/")[0] for row in getattr(task, part)} == {folder}


def test_without_test_the_val_folder_is_the_test_set_and_validation_rows_come_from_train(tmp_path):
    task = read_image_folder(given_parts(tmp_path, "train", "val", n=10), size=16)
    assert {task.paths[row].split("/")[0] for row in task.test} == {"val"}
    assert {task.paths[row].split("/")[0] for row in task.validation} == {"train"}
    assert sorted([*task.train, *task.validation, *task.test]) == list(range(40))


def test_without_val_validation_rows_come_from_train(tmp_path):
    task = read_image_folder(given_parts(tmp_path, "training", "testing", n=10), size=16)
    assert (len(task.train), len(task.validation), len(task.test)) == (16, 4, 20)


def test_class_2_comes_before_class_10_and_names_may_be_in_any_script(tmp_path):
    task = read_image_folder(fill(tmp_path, **{"class 10": RED, "class 2": BLUE, "蚂蚁": (9, 90, 9)}), size=16)
    assert task.class_names == ("class 2", "class 10", "蚂蚁")


def test_hidden_files_and_files_of_other_kinds_are_left_out(tmp_path):
    fill(tmp_path)
    paint(tmp_path / "cats" / ".hidden.png", RED)
    paint(tmp_path / ".git" / "x.png", RED)
    (tmp_path / "cats" / "notes.txt").write_text("mine")
    (tmp_path / "cats" / ".DS_Store").write_bytes(b"x")
    task = read_image_folder(tmp_path, size=16)
    assert len(task.labels) == 16
    assert task.notices == ()


def test_a_broken_picture_is_skipped_and_named(tmp_path):
    fill(tmp_path)
    whole = paint(tmp_path / "cats" / "cut.jpg", RED, size=(400, 300)).read_bytes()
    (tmp_path / "cats" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "dogs" / "page.png").write_text("<html>not found</html>")
    (tmp_path / "dogs" / "empty.png").touch()
    task = read_image_folder(tmp_path, size=16)
    assert len(task.labels) == 16
    (notice,) = task.notices
    assert notice.startswith("3 files skipped")
    for name in ("cats/cut.jpg", "dogs/page.png", "dogs/empty.png"):
        assert name in notice
    assert notice in task.describe()


def png_of_size(path, width, height):
    """Write the head of a PNG that states a size, with next to nothing behind it."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b""))
    return path


def test_a_picture_of_30_000_pixels_a_side_is_refused_unread(tmp_path):
    fill(tmp_path)
    png_of_size(tmp_path / "cats" / "bomb.png", 30_000, 30_000)
    (notice,) = read_image_folder(tmp_path, size=16).notices
    assert "cats/bomb.png" in notice
    assert "refused" in notice


def test_a_long_thin_picture_is_cut_before_it_is_scaled(tmp_path):
    picture = decode(paint(tmp_path / "thin.png", RED, size=(20_000, 12)), 224)
    assert picture.shape == (224, 224, 3)


def test_a_folder_that_is_not_there_or_holds_no_classes_is_named(tmp_path):
    with pytest.raises(ImageFolderError, match="mistyped is no folder"):
        read_image_folder(tmp_path / "mistyped")
    with pytest.raises(ImageFolderError, match="at least two classes, found none"):
        read_image_folder(tmp_path)
    paint(tmp_path / "1.png", RED)
    with pytest.raises(ImageFolderError, match="holds pictures but no folders"):
        read_image_folder(tmp_path)


def test_one_class_and_an_empty_class_are_named(tmp_path):
    fill(tmp_path, cats=RED)
    with pytest.raises(ImageFolderError, match="found only 'cats'"):
        read_image_folder(tmp_path)
    (tmp_path / "dogs").mkdir()
    with pytest.raises(ImageFolderError, match="class 'dogs' has 0 pictures"):
        read_image_folder(tmp_path)


def test_folders_without_any_picture_are_named_and_other_kinds_counted(tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
    with pytest.raises(
        ImageFolderError, match=r"the folders 'cats', 'dogs' hold no picture; kinds that are read: \.jpg"
    ):
        read_image_folder(tmp_path)
    (tmp_path / "cats" / "1.HEIC").write_bytes(b"x")
    with pytest.raises(ImageFolderError, match=r"1 files of kinds that are not read \(\.heic\).*cats/1\.HEIC"):
        read_image_folder(tmp_path)


def test_pictures_of_kinds_that_are_not_read_get_a_notice_among_others(tmp_path):
    fill(tmp_path)
    for i in range(4):
        (tmp_path / "cats" / f"{i}.heic").write_bytes(b"x")
    task = read_image_folder(tmp_path, size=16)
    assert len(task.labels) == 16
    (notice,) = task.notices
    assert notice.startswith("4 files of kinds that are not read (.heic), convert them")


@pytest.mark.parametrize("part", ["test", "val"])
def test_a_part_with_nothing_but_empty_class_folders_is_not_a_test_set(part, tmp_path):
    given_parts(tmp_path, "train")
    for name in ("cats", "dogs"):
        (tmp_path / part / name).mkdir(parents=True)
    with pytest.raises(ImageFolderError, match=r"class 'cats' has 0 pictures in (test|validation)"):
        read_image_folder(tmp_path, size=16)


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    with pytest.raises(ImageFolderError, match="may not be read; change its permissions"):
        read_image_folder(tmp_path)


def test_a_class_of_broken_pictures_is_an_empty_class_and_says_why(tmp_path):
    fill(tmp_path)
    shutil.rmtree(tmp_path / "dogs")
    (tmp_path / "dogs").mkdir()
    (tmp_path / "dogs" / "1.png").write_text("no picture")
    with pytest.raises(ImageFolderError, match=r"(?s)class 'dogs' has 0 pictures.*dogs/1\.png: cannot be read"):
        read_image_folder(tmp_path)


@pytest.mark.parametrize(
    ("part", "told"),
    [("test", "class 'dogs' is in train but not in test"), ("train", "class 'dogs' is in test but not in train")],
)
def test_a_class_that_is_missing_in_train_or_test_is_named(part, told, tmp_path):
    given_parts(tmp_path, "train", "test")
    for i in range(5):
        paint(tmp_path / "train" / "birds" / f"{i}.png", (1, 1, 1), seed=i)
        paint(tmp_path / "test" / "birds" / f"{i}.png", (1, 1, 1), seed=10 + i)
    shutil.rmtree(tmp_path / part / "dogs")
    with pytest.raises(ImageFolderError, match=told):
        read_image_folder(tmp_path, size=16)


def test_training_pictures_alone_are_not_enough(tmp_path):
    with pytest.raises(ImageFolderError, match="none to test on"):
        read_image_folder(given_parts(tmp_path, "train"))


def test_a_stray_folder_beside_the_parts_is_named(tmp_path):
    given_parts(tmp_path, "train", "test")
    (tmp_path / "more cats").mkdir()
    with pytest.raises(ImageFolderError, match="stands 'more cats'"):
        read_image_folder(tmp_path)


def test_duplicates_across_parts_are_reported_and_kept(tmp_path):
    given_parts(tmp_path, "train", "test")
    shutil.copy(tmp_path / "train/cats/0.png", tmp_path / "test/cats/again.png")
    task = read_image_folder(tmp_path, size=16)
    (notice,) = task.notices
    assert "1 pictures are in two of train, val and test" in notice
    assert "train/cats/0.png = test/cats/again.png" in notice
    assert len(task.labels) == 33


def test_duplicates_are_dropped_before_a_split_and_two_labels_for_one_picture_are_reported(tmp_path):
    fill(tmp_path)
    shutil.copy(tmp_path / "cats/00.png", tmp_path / "cats/copy.png")
    shutil.copy(tmp_path / "cats/01.png", tmp_path / "dogs/copy.png")
    task = read_image_folder(tmp_path, size=16)
    assert len(task.labels) == 16
    assert any("exact duplicates dropped" in notice for notice in task.notices)
    assert any("under two classes" in notice and "cats/01.png = dogs/copy.png" in notice for notice in task.notices)


def test_the_imbalance_is_reported(tmp_path):
    fill(tmp_path, cats=RED)
    fill(tmp_path, n=16, dogs=BLUE)
    assert "the largest class has 2.0 times the pictures of the smallest" in read_image_folder(tmp_path).describe()


def test_fewer_pictures_of_a_class_are_read_when_asked(tmp_path, monkeypatch):
    fill(tmp_path, n=12)
    assert len(read_image_folder(tmp_path, size=16, per_class=5).labels) == 10
    with pytest.raises(ImageFolderError, match="per_class=1: expected at least 4"):
        read_image_folder(tmp_path, per_class=1)
    monkeypatch.setattr("data_scripts.image_folder.MOST_BYTES", 1000)
    with pytest.raises(ImageFolderError, match=r"holds 24 pictures, 18\.4 kB when decoded.*per_class="):
        read_image_folder(tmp_path, size=16)


def two_colours(size=(40, 40)):
    """Red on the left, blue on the right."""
    pixels = np.zeros((*size[::-1], 3), np.uint8)
    pixels[:, : size[0] // 2] = RED
    pixels[:, size[0] // 2 :] = BLUE
    return Image.fromarray(pixels)


def corner_colours(path):
    small = decode(path, 8).astype(int)
    return small[1, 1], small[1, 6]


def close(got, expected, tolerance=12):
    return np.abs(np.asarray(got) - expected).max() <= tolerance


@pytest.mark.parametrize(
    ("mode", "name"), [("P", "p.png"), ("RGBA", "rgba.png"), ("RGB", "q.jpg"), ("CMYK", "c.jpg"), ("P", "p.gif")]
)
def test_colours_survive_every_mode(mode, name, tmp_path):
    two_colours().convert(mode).save(tmp_path / name, **({"quality": 95} if name.endswith("jpg") else {}))
    left, right = corner_colours(tmp_path / name)
    assert close(left, RED)
    assert close(right, BLUE)


def test_transparency_lies_over_white(tmp_path):
    picture = two_colours().convert("RGBA")
    picture.putalpha(Image.new("L", picture.size, 0))
    picture.save(tmp_path / "clear.png")
    assert (decode(tmp_path / "clear.png", 8) == 255).all()
    palette = Image.new("P", (20, 20), 3)
    palette.putpalette([0] * 768)
    palette.save(tmp_path / "clear.gif", transparency=3)
    assert (decode(tmp_path / "clear.gif", 8) == 255).all()


def test_sixteen_bits_are_brought_to_eight_and_not_cut_off(tmp_path):
    grey = np.tile(np.linspace(0, 65535, 32).astype(np.uint16), (32, 1))
    Image.fromarray(grey).save(tmp_path / "deep.png")
    small = decode(tmp_path / "deep.png", 32)[0, :, 0].astype(int)
    assert np.abs(small - np.linspace(0, 255, 32)).max() <= 3


@pytest.mark.parametrize("largest", [1.0, 255.0, 65535.0])
def test_floats_are_brought_to_eight_bits_and_not_cut_off(largest, tmp_path):
    values = np.tile(np.linspace(0, largest, 32).astype(np.float32), (32, 1))
    values[0, 0] = np.nan
    Image.fromarray(values).save(tmp_path / "f.tif")
    small = decode(tmp_path / "f.tif", 32)[8, :, 0].astype(int)
    assert np.abs(small - np.linspace(0, 255, 32)).max() <= 3


def test_a_picture_turned_by_exif_is_turned_back(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: what is on the left comes to the top
    two_colours().save(tmp_path / "turned.jpg", exif=exif, quality=95)
    small = decode(tmp_path / "turned.jpg", 8).astype(int)
    assert close(small[1, 4], RED)
    assert close(small[6, 4], BLUE)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, BLUE)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert close(decode(tmp_path / "moving.gif", 8)[4, 4], RED)


def test_the_central_square_is_taken(tmp_path):
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = BLUE
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert close(decode(tmp_path / "wide.png", 10)[5, 5], BLUE)
    assert close(decode(tmp_path / "wide.png", 10)[5, 1], BLUE, 40)
