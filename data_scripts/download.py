"""Public files: from the cache, else from a mirror folder, else by download; never used unless the hash matches.

``WORKBOOK_MIRROR`` names a folder that stands in for the download hosts. What is asked of the network is listed
in ``registry.toml`` and nowhere else.
"""

import logging
import re
import shutil
import time
import tomllib
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from pooch import HTTPDownloader

from data_scripts.cache import cache_folder, folder_from_environment, locked, readable_size, sha256_of, stored
from data_scripts.errors import DownloadError, RegistryError

REGISTRY = Path(__file__).with_name("registry.toml")
ATTEMPTS = 3
"""Tries at one URL whose server answers badly. A server that does not answer at all is tried once."""
BACK_OFF = 0.5
"""Seconds before the second try; doubled before each further one."""
TIMEOUT = (5, 20)
"""Seconds to wait for a connection, and for the next bytes of an open one."""

_log = logging.getLogger("workbook.cache")


@dataclass(frozen=True)
class Packing:
    """Bytes that a file may consist of: ``size`` in bytes and ``sha256`` in hexadecimal; ``note`` says why."""

    sha256: str
    size: int
    note: str = ""


@dataclass(frozen=True)
class PublicFile:
    """One entry of the registry; ``registry.toml`` explains the fields."""

    name: str
    urls: tuple[str, ...]
    size: int
    sha256: str
    licence: str
    citation: str
    purpose: str
    other_packings: tuple[Packing, ...] = ()

    def accepts(self, sha256: str) -> bool:
        """Say whether a file with this hash is this file, in any of its packings."""
        return sha256 == self.sha256 or any(sha256 == packing.sha256 for packing in self.other_packings)


@lru_cache
def read_registry(path: Path = REGISTRY) -> dict[str, PublicFile]:
    """Return the public files by name.

    Raises:
        RegistryError: an entry lacks a field, has an unknown one, or a hash, size or URL that cannot be one.
    """
    try:
        entries = tomllib.loads(path.read_text("utf-8")).get("files", {})
    except tomllib.TOMLDecodeError as error:
        raise RegistryError(f"{path} is not valid TOML: {error}") from error
    return {name: _parse_entry(name, entry) for name, entry in entries.items()}


def _parse_entry(name: str, entry: dict) -> PublicFile:
    known = {field.name for field in fields(PublicFile)} - {"name"}
    wrong = [f"unknown field {key!r}" for key in sorted(entry.keys() - known)]
    wrong += [f"no {key!r}" for key in sorted(known - {"other_packings"} - entry.keys())]
    packings = [entry, *entry.get("other_packings", [])]
    for packing in packings:
        if not re.fullmatch(r"[0-9a-f]{64}", str(packing.get("sha256", ""))):
            wrong.append(f"sha256 {packing.get('sha256')!r}, expected 64 hexadecimal digits")
        if not (isinstance(packing.get("size"), int) and packing["size"] > 0):
            wrong.append(f"size {packing.get('size')!r}, expected a number of bytes")
    wrong += [f"URL {url!r}" for url in entry.get("urls", []) if not re.match(r"https?://[^/]+/", url)]
    if "/" in name or name.startswith("."):
        wrong.append("the name is no plain file name")
    if wrong:
        raise RegistryError(f"registry.toml, {name!r}: {'; '.join(wrong)}")
    others = tuple(Packing(**packing) for packing in entry.get("other_packings", []))
    return PublicFile(name=name, **(entry | {"urls": tuple(entry["urls"]), "other_packings": others}))


def mirror_folder() -> Path | None:
    """Return the folder that ``WORKBOOK_MIRROR`` names, or None when it is not set."""
    return folder_from_environment("WORKBOOK_MIRROR")


def downloads_folder() -> Path:
    """Return the folder of the cache that holds the public files, made when missing."""
    return cache_folder("downloads")


def fetch(name: str, *, progress: bool = False) -> Path:
    """Return the path of a public file in the cache, bringing it there when it is missing or damaged.

    Args:
        name: as in ``registry.toml``.
        progress: draw a bar while downloading.

    Raises:
        RegistryError: no such file is listed.
        DownloadError: it could not be fetched, or the mirror folder holds something else under its name.
        CacheError: the cache folder cannot be written to, or the disk is full.
    """
    registry = read_registry()
    if name not in registry:
        raise RegistryError(f"{name!r} is not in registry.toml, which lists: {', '.join(sorted(registry))}")
    return bring(registry[name], progress=progress)


def bring(file: PublicFile, *, progress: bool = False) -> Path:
    """Do what `fetch` does, for an entry that need not be in the registry."""
    path = downloads_folder() / file.name
    with locked(path):
        tries = _check_cached(file, path)
        if path.exists():
            return path
        if not _copy_from_mirror(file, path, tries):
            _download(file, path, tries, progress)
    return path


def _check_cached(file: PublicFile, path: Path) -> list[str]:
    """Delete a cached file whose hash does not match; return what there is to tell about it."""
    if not path.exists():
        return []
    got = sha256_of(path)
    if file.accepts(got):
        return []
    told = f"{path} was damaged and is deleted: {_mismatch(file, got, path)}"
    _log.warning(told)
    path.unlink()
    return [told]


def _copy_from_mirror(file: PublicFile, path: Path, tries: list[str]) -> bool:
    """Copy the file from the mirror folder; return False, and say why in ``tries``, when it is not there."""
    folder = mirror_folder()
    if folder is None:
        return False
    source = folder / file.name
    try:
        incoming = source.open("rb")
    except OSError as error:
        tries.append(f"mirror folder {folder}: {file.name}: {error.strerror}")
        return False
    with incoming, stored(path, file.size) as partial:
        with partial.open("wb") as outgoing:
            shutil.copyfileobj(incoming, outgoing)
        got = sha256_of(partial)
        if not file.accepts(got):
            raise DownloadError(
                f"{source} in the mirror folder is not {file.name}: {_mismatch(file, got, partial)}. "
                "It was not used: replace it, or unset WORKBOOK_MIRROR"
            )
    return True


class _TryFailed(Exception):
    """One try at one URL failed; ``again`` says whether the same URL may do better."""

    def __init__(self, reason: str, *, again: bool = False):
        super().__init__(reason)
        self.again = again


def _download(file: PublicFile, path: Path, tries: list[str], progress: bool) -> None:
    """Try URL after URL, each up to `ATTEMPTS` times; raise `DownloadError` when none gives the right bytes."""
    for url in file.urls:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(BACK_OFF * 2 ** (attempt - 1))
            try:
                with stored(path, file.size) as partial:
                    _get(url, partial, progress)
                    got = sha256_of(partial)
                    if got != file.sha256:
                        raise _TryFailed(_mismatch(file, got, partial))
                return
            except _TryFailed as failed:
                tries.append(f"{url}: {failed}")
                if not failed.again:
                    break
    raise DownloadError(_how_to_get(file, path.parent, tries))


def _get(url: str, path: Path, progress: bool) -> None:
    import requests  # slow to import, and needed only here

    download = HTTPDownloader(
        progressbar=progress,
        chunk_size=2**16,
        timeout=TIMEOUT,
        # A server that compresses on the way would have requests unpack the .gz files.
        headers={"Accept-Encoding": "identity"},
    )
    try:
        download(url, str(path), None)
    except requests.HTTPError as error:
        status = error.response.status_code
        reason = f"HTTP status {status} {error.response.reason}"
        raise _TryFailed(reason, again=status >= 500 or status == 429) from error
    except requests.ConnectTimeout as error:
        raise _TryFailed(f"no connection within {TIMEOUT[0]} s") from error
    except requests.ConnectionError as error:
        raise _TryFailed("no connection") from error
    except requests.RequestException as error:
        raise _TryFailed(f"the connection broke off ({type(error).__name__})", again=True) from error


def _mismatch(file: PublicFile, got: str, path: Path) -> str:
    sizes = f"{path.stat().st_size:,} bytes of {file.size:,}"
    return f"expected SHA-256 {file.sha256}, got {got} ({sizes})"


def _how_to_get(file: PublicFile, folder: Path, tries: list[str]) -> str:
    lines = [
        f"{file.name} could not be fetched ({readable_size(file.size)}, licence {file.licence}).",
        f"It is needed for: {file.purpose}.",
        "Tried:",
        *(f"  - {told}" for told in tries),
        "Connect to the network and run this again, or get the file by hand from",
        *(f"  {url}" for url in file.urls),
        f"and put it into the folder {folder}",
        "(or into a folder of your own that the environment variable WORKBOOK_MIRROR names).",
    ]
    return "\n".join(lines)
