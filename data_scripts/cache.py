"""The cache folder, and arrays kept in it.

A cached file is either whole or absent: it is written under a temporary name, moved into place in one step,
and its SHA-256 stands in a second file beside it (``sha256sum --check`` reads it). One process makes a file
while the others wait for it. Two environment variables, both optional: ``WORKBOOK_CACHE`` (the cache folder)
and ``WORKBOOK_MIRROR`` (see `data_scripts.download`); relative paths count from the repository root, because
notebooks run in other folders.
"""

import errno
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock

from data_scripts.errors import CacheError

_ROOT = Path(__file__).resolve().parents[1]
_log = logging.getLogger("workbook.cache")
# Without a handler, Python prints warnings to stderr, where they would end up in a notebook's outputs.
_log.addHandler(logging.NullHandler())


def folder_from_environment(variable: str) -> Path | None:
    """Return the folder that an environment variable names (``~`` expanded), None when unset or empty."""
    value = os.environ.get(variable, "").strip()
    return _ROOT / Path(value).expanduser() if value else None


def cache_location() -> Path:
    """Return where the cache folder is or would be, without making it."""
    return folder_from_environment("WORKBOOK_CACHE") or Path(
        platformdirs.user_cache_dir("transfer-learning-workbook", appauthor=False)
    )


def cache_folder(part: str = "") -> Path:
    """Return the cache folder, or the folder ``part`` inside it, made when missing.

    Raises:
        CacheError: the folder cannot be made or written to.
    """
    folder = cache_location() / part
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Trying is the only honest test: permission bits say nothing of read-only mounts and full disks.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CacheError(
            f"the cache folder {folder} cannot be written to: {error.strerror}. Make it writable, "
            "or set WORKBOOK_CACHE to a folder of yours"
        ) from error
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a cached file: other processes wait here. A killed process holds none."""
    try:
        lock = FileLock(f"{path}.lock")
        lock.acquire()
    except OSError as error:
        raise _storing_error(path, 0, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def stored(path: Path, size: int) -> Iterator[Path]:
    """Give a temporary path to write to; move it to ``path`` in one step when the block ends well.

    Call it under `locked`. After an error or an interruption nothing partial is left.

    Args:
        path: the cached file.
        size: bytes that it will take, for the message when the disk is full.

    Raises:
        CacheError: the disk is full, or the file cannot be written.
    """
    # A fixed name, so that what a killed process left is overwritten by the next one.
    partial = path.with_name(f"{path.name}.part")
    try:
        with storing(path, size, also=partial):
            yield partial
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def storing(path: Path, size: int, *, also: Path | None = None) -> Iterator[None]:
    """Turn an error of the file system while ``path`` is stored into a `CacheError` that says what to do.

    Args:
        path: what is being stored.
        size: bytes that it will take, for the message when the disk is full.
        also: a file to delete then, before the free space is measured for the message.
    """
    try:
        yield
    except OSError as error:
        if also is not None:
            also.unlink(missing_ok=True)
        raise _storing_error(path, size, error) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def readable_size(size: float) -> str:
    """Say a number of bytes as a person would: ``"4.5 kB"``, ``"1.6 MB"``, ``"139.0 GB"``."""
    if size < 1000:
        return f"{size:.0f} B"
    unit, scale = next((u, s) for u, s in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if size >= s)
    return f"{size / scale:.1f} {unit}"


def cached_arrays(name: str, version: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays of ``<name>-<version>.npz`` in the cache folder, making them when they are not there.

    A file whose SHA-256 does not match is never used: it is made again, with one line to the log
    ``workbook.cache`` (which is silent unless the caller has set logging up). Of several processes one makes
    the arrays and the others wait for them.

    Args:
        name: of the data set, such as ``"glyphs"``; letters, digits, ``.``, ``_`` and ``-``.
        version: what the arrays depend on (settings, generator version); another version is another file.
        make: computes the arrays; called at most once. Its own errors pass through.

    Returns:
        The arrays by name. Nothing is shared with other callers, so they may be changed in place.

    Raises:
        CacheError: the folder cannot be written to, or the disk is full (nothing partial is left).
        ValueError: ``name`` or ``version`` does not do in a file name.
        TypeError: ``make`` returned an array of Python objects, which cannot be stored safely.
    """
    file_name = f"{name}-{version}.npz"
    if not re.fullmatch(r"[A-Za-z0-9._-]+", file_name):
        raise ValueError(f"cannot cache {file_name!r}: expected a name and version of letters, digits, '.', '_', '-'")
    path = cache_folder() / file_name
    found = _read(path)
    if found is None:
        with locked(path):
            found = _read(path)  # another process may have made it while this one waited
            if found is None:
                found = _make_and_store(path, make)
    return found


def _digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays if the file is there and whole, else None."""
    try:
        expected = _digest_path(path).read_text().split()[0]
        # One open file for both steps: another process may replace the path between them.
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                return None
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
    except (FileNotFoundError, IndexError, UnicodeDecodeError):
        return None
    except OSError as error:
        raise CacheError(
            f"the cached file {path} cannot be read: {error.strerror}. Delete it, or set WORKBOOK_CACHE to "
            "another folder"
        ) from error


def _make_and_store(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if path.exists():
        _log.warning("%s is damaged (its SHA-256 is missing or does not match): making it again", path)
    arrays = {key: np.asarray(value) for key, value in make().items()}
    for key, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"{path.name}: array {key!r} has dtype {array.dtype}, expected numbers or text")
    digest = _digest_path(path)
    digest.unlink(missing_ok=True)
    with stored(path, sum(array.nbytes for array in arrays.values())) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # not compressed: reading is what has to be fast
        file.flush()
        content = sha256_of(partial)
    # A process that dies before the next line leaves a file without a digest, which is made again.
    with stored(digest, len(content)) as partial:
        partial.write_text(f"{content}  {path.name}\n")
    _log.info("made %s (%s)", path, readable_size(path.stat().st_size))
    return arrays


def _storing_error(path: Path, size: int, error: OSError) -> CacheError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(path.parent).free
        return CacheError(
            f"the disk is full: {path.name} needs {readable_size(size)} in {path.parent}, "
            f"where {readable_size(free)} are free. Free some space, "
            "or set WORKBOOK_CACHE to a folder on another disk"
        )
    return CacheError(
        f"{path.name} cannot be stored in {path.parent}: {error.strerror}. Make the folder writable, "
        "or set WORKBOOK_CACHE to a folder of yours"
    )
