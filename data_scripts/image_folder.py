"""A folder of photographs as a task: a learner's own, or one that a public archive was unpacked to.

Either one folder a class, ``<folder>/<class>/<picture>``, or with the rows chosen already:
``<folder>/train/<class>/<picture>`` and the same under ``test`` and, if there, ``val`` (or ``valid``, ``validation``).
Pictures are decoded once, to small squares of 8 bits a channel, and kept in memory.
"""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from data_scripts.cache import readable_size
from data_scripts.errors import ImageFolderError
from data_scripts.task import Task, split_rows

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
NOT_READ = (".heic", ".heif", ".avif", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw", ".psd", ".jxl")
"""Pictures of these kinds are not read, but counted in a notice: many telephones make nothing else."""
MOST_PIXELS = 80_000_000
"""A picture of more pixels is refused unread: it would take a gigabyte to decode, and may be meant to."""
MOST_BYTES = 3_000_000_000
"""The decoded pictures of a task may take this much memory."""
LEAST_A_CLASS = 4
"""Fewer pictures of a class cannot be split into training, validation and test rows."""
PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class PhotoTask(Task):
    """A `Task` of photographs: ``inputs`` are uint8 ``(N, size, size, 3)``, red, green, blue.

    Attributes:
        paths: of each row's file, relative to the folder.
        notices: what a person should know about the folder, one line each.
    """

    paths: tuple[str, ...] = ()
    notices: tuple[str, ...] = field(default=())

    def describe(self) -> str:
        """Return the classes, their sizes, how unequal they are, and the notices, as lines of text."""
        lines = [f"{len(self.labels)} pictures of {len(self.class_names)} classes"]
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        for part in ("train", "validation", "test"):
            shares = np.bincount(self.labels[getattr(self, part)], minlength=len(self.class_names))
            shown = ", ".join(f"{name} {n}" for name, n in zip(self.class_names[:12], shares, strict=False))
            lines.append(f"{part}: {shares.sum()} ({shown}{', …' if len(shares) > 12 else ''})")
        ratio = counts.max() / counts.min()
        if ratio >= 1.5:
            lines.append(f"imbalance: the largest class has {ratio:.1f} times the pictures of the smallest")
        return "\n".join([*lines, *(f"note: {notice}" for notice in self.notices)])


def in_colour(images: np.ndarray) -> np.ndarray:
    """Turn grey float images ``(N, H, W)`` in [0, 1] into uint8 pictures ``(N, H, W, 3)``, three equal channels."""
    return np.repeat((255 * images).round().astype(np.uint8)[..., None], 3, axis=-1)


def decode(path: Path, size: int, *, crop: float = 1.0) -> np.ndarray:
    """Return the central square of a picture, ``(size, size, 3)`` uint8, as a person would see it.

    Turned as its EXIF entry says; the first frame of an animation; transparency over white; 16 bits brought to 8;
    palettes, grey and CMYK turned into red, green and blue. The square is cut before it is scaled (bicubic with
    antialiasing), so that a long thin picture costs no memory.

    Args:
        path: of the file.
        size: side of the result, in pixels.
        crop: side of the square as a share of the picture's shorter side.

    Raises:
        ImageFolderError: the file is no picture, is cut off, or has more than `MOST_PIXELS`; the message says which.
    """
    try:
        with warnings.catch_warnings():
            # The size is checked here, with a stricter bound; other warnings of PIL are about odd metadata.
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                width, height = picture.size
                if width * height > MOST_PIXELS:
                    raise ImageFolderError(f"{width:,} × {height:,} pixels, more than {MOST_PIXELS:,}: refused")
                picture.draft("RGB", (2 * size, 2 * size))  # lets a large JPEG be decoded small
                picture = ImageOps.exif_transpose(picture)
                picture = _as_rgb(picture)
                side = crop * min(picture.size)
                left, top = (picture.width - side) / 2, (picture.height - side) / 2
                square = picture.resize(
                    (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
                )
                return np.asarray(square)
    except ImageFolderError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageFolderError(f"more than {MOST_PIXELS:,} pixels: refused") from error
    # PIL's decoders raise whatever comes up in the middle of broken bytes.
    except Exception as error:
        raise ImageFolderError(f"cannot be read as a picture ({type(error).__name__})") from error


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I"):
        # PIL's own conversion cuts off above 255 in place of scaling.
        values = np.asarray(picture).astype(np.float64)
        scale = 257 if values.max(initial=0) > 255 else 1
        picture = Image.fromarray((values / scale).round().clip(0, 255).astype(np.uint8))
    elif picture.mode == "F":
        values = np.nan_to_num(np.asarray(picture))
        largest = values.max(initial=0)
        scale = 255 if largest <= 1 else 1 if largest <= 255 else 1 / 257
        picture = Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _pictures(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files of a class folder that should be pictures, hidden ones left out, in order of their names."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in suffixes]
    visible = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted(visible, key=lambda path: path.relative_to(folder).as_posix())


def _folders(folder: Path) -> dict[str, Path]:
    try:
        visible = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    except PermissionError as error:
        raise ImageFolderError(f"{folder}: may not be read; change its permissions") from error
    return {path.name: path for path in sorted(visible, key=lambda path: _natural(path.name))}


def _natural(name: str) -> tuple:
    """Sort key by which class 2 comes before class 10."""
    pieces, number = [], ""
    for character in name + "\0":
        if character.isdecimal():
            number += character
            continue
        if number:
            pieces.append((0, int(number), ""))
            number = ""
        pieces.append((1, 0, character.casefold()))
    return (*pieces, (2, 0, name))


def _parts_of(folder: Path) -> dict[str, Path] | None:
    """Return the folders of training, validation and test pictures, or None when there is one folder a class."""
    folders = {name.casefold(): path for name, path in _folders(folder).items()}
    parts = {}
    for part, names in PARTS.items():
        there = [folders.pop(name) for name in names if name in folders]
        if len(there) > 1:
            raise ImageFolderError(f"{folder}: both {there[0].name!r} and {there[1].name!r} are there; keep one")
        if there:
            parts[part] = there[0]
    if "train" not in parts:
        return None
    if folders:
        others = ", ".join(repr(path.name) for path in folders.values())
        raise ImageFolderError(f"{folder}: beside {', '.join(p.name for p in parts.values())} stands {others}; move it")
    if len(parts) == 1:
        raise ImageFolderError(
            f"{folder}: there is a folder of training pictures but none to test on; name one 'test', or give the "
            f"class folders themselves: {parts['train']}"
        )
    return parts


def read_image_folder(
    folder: Path | str,
    *,
    size: int = 224,
    split_seed: int = 0,
    per_class: int | None = None,
    crop: float = 0.875,
    suffixes: Sequence[str] = SUFFIXES,
) -> PhotoTask:
    """Read a folder of photographs, one folder a class, or such folders under train, (val,) test.

    Rows: as the folders say, where they say so. Without ``val``, 20 % of the training pictures become validation rows;
    without ``test``, ``val`` is the test set (as in the ants and bees of PyTorch's tutorial), because settings are
    never chosen on rows that are then reported. One folder a class is split 50 : 15 : 35, after exact duplicates have
    been dropped.

    Args:
        folder: see the top of this module.
        size: side of the decoded squares, in pixels.
        split_seed: of the rows that are split here.
        per_class: read at most so many pictures of a class (of each part), drawn at random.
        crop: see `decode`; ImageNet's networks are tested on 224 of 256 pixels, which is the default.
        suffixes: of the files that are pictures, in small letters.

    Raises:
        ImageFolderError: the folder is not there, or is no such folder: the message names what is missing. Pictures
            that cannot be read are skipped, and named in `PhotoTask.notices`.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ImageFolderError(f"{folder} is no folder; expected one with a folder of pictures for each class")
    if per_class is not None and per_class < LEAST_A_CLASS:
        raise ImageFolderError(f"per_class={per_class}: expected at least {LEAST_A_CLASS}")
    parts = _parts_of(folder)
    class_folders = {part: _folders(path) for part, path in (parts or {"all": folder}).items()}
    class_names = _class_names(folder, class_folders)
    paths, labels, part_of = [], [], []
    for part, classes in class_folders.items():
        for label, name in enumerate(class_names):
            found = _pictures(classes[name], suffixes) if name in classes else []
            if per_class is not None and len(found) > per_class:
                generator = np.random.default_rng([split_seed, label])
                found = [found[i] for i in np.sort(generator.permutation(len(found))[:per_class])]
            paths += found
            labels += [label] * len(found)
            part_of += [part] * len(found)
    needed = len(paths) * size * size * 3
    if needed > MOST_BYTES:
        raise ImageFolderError(
            f"{folder} holds {len(paths):,} pictures, {readable_size(needed)} when decoded, more than "
            f"{readable_size(MOST_BYTES)}: read fewer with per_class={max(4, int(len(paths) / len(class_names) / 4))}"
        )
    notices = _kinds_not_read(folder, [classes[name] for classes in class_folders.values() for name in classes])
    if not paths:
        raise ImageFolderError(
            f"{folder}: the folders {', '.join(map(repr, class_names))} hold no picture; kinds that are read: "
            + ", ".join(suffixes)
            + "".join(f"\n  {notice}" for notice in notices)
        )
    columns = np.array(labels, np.int64), np.array(part_of)
    return _assemble(folder, class_names, tuple(class_folders), paths, *columns, size, split_seed, crop, notices)


def _kinds_not_read(folder: Path, class_folders: Sequence[Path]) -> list[str]:
    found = [path for one in class_folders for path in _pictures(one, NOT_READ)]
    if not found:
        return []
    kinds = ", ".join(sorted({path.suffix.lower() for path in found}))
    shown = "; ".join(path.relative_to(folder).as_posix() for path in found[:3])
    return [
        f"{len(found)} files of kinds that are not read ({kinds}), convert them to JPEG or PNG: "
        f"{shown}{'; …' if len(found) > 3 else ''}"
    ]


def _class_names(folder: Path, class_folders: dict[str, dict[str, Path]]) -> tuple[str, ...]:
    train = class_folders.get("train") or class_folders.get("all") or {}
    if not train and _pictures(folder, SUFFIXES):
        raise ImageFolderError(f"{folder} holds pictures but no folders: put those of each class into one of its own")
    if len(train) < 2:
        only = f"only {next(iter(train))!r}" if train else "none"
        raise ImageFolderError(f"{folder}: expected a folder for each of at least two classes, found {only}")
    for part, classes in class_folders.items():
        for name in classes.keys() - train.keys():
            raise ImageFolderError(f"{folder}: class {name!r} is in {part} but not in train")
    if "test" in class_folders or "validation" in class_folders:
        scored = "test" if "test" in class_folders else "validation"
        for name in train.keys() - class_folders[scored].keys():
            raise ImageFolderError(f"{folder}: class {name!r} is in train but not in {scored}")
    return tuple(train)


def _decode_all(paths: Sequence[Path], size: int, crop: float) -> list[np.ndarray | str]:
    def one(path: Path) -> np.ndarray | str:
        try:
            return decode(path, size, crop=crop)
        except ImageFolderError as error:
            return str(error)

    with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1))) as pool:
        return list(pool.map(one, paths))


def _assemble(
    folder: Path,
    class_names: tuple[str, ...],
    parts: tuple[str, ...],
    paths: list[Path],
    labels: np.ndarray,
    part_of: np.ndarray,
    size: int,
    split_seed: int,
    crop: float,
    notices: list[str],
) -> PhotoTask:
    decoded = _decode_all(paths, size, crop)
    names = [path.relative_to(folder).as_posix() for path in paths]
    notices = list(notices)
    failed = [(name, told) for name, told in zip(names, decoded, strict=True) if isinstance(told, str)]
    if failed:
        shown = "; ".join(f"{name}: {told}" for name, told in failed[:5])
        notices.append(f"{len(failed)} files skipped: {shown}{'; …' if len(failed) > 5 else ''}")
    digests = [None if isinstance(one, str) else hashlib.sha256(one.tobytes()).digest() for one in decoded]
    keep = np.array([digest is not None for digest in digests], bool)
    keep, told = _look_for_duplicates(names, labels, part_of, digests, keep)
    notices += told
    for label, name in enumerate(class_names):
        for part in parts:
            here = keep & (labels == label) & (part_of == part)
            least = LEAST_A_CLASS if part == "all" else 1
            scored = part != "validation" or "test" not in parts
            if scored and here.sum() < least:
                where = "" if part == "all" else f" in {part}"
                raise ImageFolderError(
                    f"{folder}: class {name!r} has {here.sum()} pictures{where} that can be read, expected at least "
                    f"{least}" + "".join(f"\n  {notice}" for notice in notices)
                )
    rows = np.flatnonzero(keep)
    train, validation, test = _split(labels[rows], part_of[rows], split_seed)
    if not len(validation):
        raise ImageFolderError(f"{folder}: too few training pictures to keep some for validation")
    return PhotoTask(
        folder.name,
        np.stack([decoded[row] for row in rows]),
        labels[rows],
        class_names,
        train,
        validation,
        test,
        tuple(names[row] for row in rows),
        tuple(notices),
    )


def _look_for_duplicates(
    names: list[str], labels: np.ndarray, part_of: np.ndarray, digests: list[bytes | None], keep: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Drop second copies within what is split here; report copies across given parts and under two labels."""
    keep, notices = keep.copy(), []
    first: dict[bytes, int] = {}
    dropped, across, torn = [], [], []
    for row in np.flatnonzero(keep):
        digest = digests[row]
        if digest not in first:
            first[digest] = row
            continue
        other = first[digest]
        pair = f"{names[other]} = {names[row]}"
        if labels[other] != labels[row]:
            torn.append(pair)
        if part_of[other] != part_of[row]:
            across.append(pair)
        elif part_of[row] == "all":
            keep[row] = False
            dropped.append(pair)
    for found, what in (
        (torn, "pictures stand under two classes"),
        (across, "pictures are in two of train, val and test: the score will flatter"),
        (dropped, "exact duplicates dropped"),
    ):
        if found:
            notices.append(f"{len(found)} {what}: {'; '.join(found[:3])}{'; …' if len(found) > 3 else ''}")
    return keep, notices


def _split(labels: np.ndarray, part_of: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if Counter(part_of).keys() == {"all"}:
        return split_rows(labels, seed=seed)
    train, validation, test = (np.flatnonzero(part_of == part) for part in ("train", "validation", "test"))
    if len(test) and len(validation):
        return train, validation, test
    if not len(test):
        test = validation
    kept, held, _ = split_rows(labels[train], seed=seed, validation=0.2, test=0.0)
    return train[kept], train[held], test
