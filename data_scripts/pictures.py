"""The pictures and the backbone of a lesson on photographs: by profile, by name, or from a learner's own folder."""

from collections.abc import Callable
from pathlib import Path

from data_scripts.ants_bees import load_ants_bees
from data_scripts.errors import ImageFolderError
from data_scripts.image_folder import PhotoTask, in_colour, read_image_folder
from data_scripts.office import load_office
from data_scripts.photo_digits import load_photo_digits

ROOT = Path(__file__).resolve().parent.parent

BY_PROFILE = {"quick": "photo_digits", "public": "ants_bees", "gpu": "ants_bees"}
"""Profile → the pictures that a lesson takes unless told otherwise."""

BACKBONE_BY_PROFILE = {"quick": "glyphnet", "public": "squeezenet", "gpu": "resnet50"}
"""Profile → backbone, likewise."""


def load_photo_digits_as_pictures(*, split_seed: int = 0, size: int = 32) -> PhotoTask:
    """Load photo_digits, handwritten digits over patches of photographs, as pictures ``(1797, 32, 32, 3)``.

    Raises:
        ValueError: ``size`` is not 32.
    """
    if size != 32:
        raise ValueError(f"photo_digits has pictures of 32 pixels, and this backbone wants {size}: use glyphnet")
    task = load_photo_digits(split_seed=split_seed)
    paths = tuple(f"digit {row}" for row in range(len(task.labels)))
    return PhotoTask(
        task.name, in_colour(task.inputs), task.labels, task.class_names, task.train, task.validation, task.test, paths
    )


LOADERS: dict[str, Callable[..., PhotoTask]] = {
    "photo_digits": load_photo_digits_as_pictures,
    "ants_bees": load_ants_bees,
    "amazon": lambda **settings: load_office("amazon", **settings),
    "webcam": lambda **settings: load_office("webcam", **settings),
}


def choose_backbone(profile: str, *, backbone: str = "", data_dir: str = "") -> str:
    """Return the name of the backbone: the one given, else the profile's; a learner's own pictures need photographs'.

    Args:
        profile: one of `workbook.profiles.PROFILES`.
        backbone: a name of `data_scripts.backbones.BACKBONES`, or empty.
        data_dir: the learner's folder, or empty.
    """
    if backbone:
        return backbone
    return BACKBONE_BY_PROFILE["public" if data_dir and profile == "quick" else profile]


def load_pictures(
    profile: str, *, size: int, data: str = "", data_dir: str = "", per_class: int = 0, split_seed: int = 0
) -> PhotoTask:
    """Load the pictures of a lesson, decoded once, as uint8 ``(N, size, size, 3)``.

    Args:
        profile: one of `workbook.profiles.PROFILES`; decides where nothing else does.
        size: side of the pictures, in pixels: the backbone's.
        data: one of `LOADERS`, or empty.
        data_dir: a folder of the learner's own, one folder a class or train/val/test (see
            `data_scripts.image_folder`); a relative one is looked for in the working directory, then in the project's.
        per_class: read at most so many pictures of a class of ``data_dir``; 0 for all.
        split_seed: of the split into training, validation and test rows.

    Raises:
        ImageFolderError: ``data_dir`` is no such folder.
        DownloadError: public pictures are not in the cache and cannot be fetched.
        ValueError: an unknown name, or both ``data`` and ``data_dir``.
    """
    if data and data_dir:
        raise ValueError(f"data={data!r} and data_dir={data_dir!r} are both given: keep one")
    if data_dir:
        return read_image_folder(_find(data_dir), size=size, split_seed=split_seed, per_class=per_class or None)
    name = data or BY_PROFILE[profile]
    if name not in LOADERS:
        raise ValueError(f"data {name!r} is unknown: expected one of {', '.join(LOADERS)}, or your folder as data_dir")
    return LOADERS[name](split_seed=split_seed, size=size)


def _find(data_dir: str) -> Path:
    given = Path(data_dir).expanduser()
    places = [given.absolute()] if given.is_absolute() else [given.absolute(), ROOT / given]
    for place in places:
        if place.is_dir():
            return place
    raise ImageFolderError(
        f"data_dir={data_dir!r} is no folder; looked at {' and '.join(map(str, dict.fromkeys(places)))}. Expected one "
        "with a folder of pictures for each class"
    )
