"""Public files: from the cache, else from a mirror folder, else by download; never used unless they are recognised.

``WORKBOOK_MIRROR`` names a folder that stands in for the download hosts. What is asked of the network is listed
in ``registry.toml`` and nowhere else. A download that breaks off goes on where it stopped, in the same run or a later
one.
"""

import json
import logging
import shutil
import time
from pathlib import Path

from data_scripts.archives import unpack
from data_scripts.cache import cache_folder, folder_from_environment, locked, readable_size, stored, storing
from data_scripts.errors import ArchiveError, DownloadError
from data_scripts.registry import PublicFile, lookup

ATTEMPTS = 3
"""Tries at one URL whose server answers badly or breaks off. A server that does not answer at all is tried once."""
BACK_OFF = 0.5
"""Seconds before the second try; doubled before each further one."""
TIMEOUT = (5, 20)
"""Seconds to wait for a connection, and for the next bytes of an open one."""
CHUNK = 2**16

_log = logging.getLogger("workbook.cache")


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
    return bring(lookup(name), progress=progress)


def fetch_folder(name: str, *, progress: bool = False) -> Path:
    """Return a folder with the contents of a public archive, unpacked in the cache.

    Args:
        name: of an archive in ``registry.toml``.
        progress: draw a bar while downloading.

    Raises:
        As `fetch`; ArchiveError: the entry is no archive.
    """
    return bring_folder(lookup(name), progress=progress)


def bring(file: PublicFile, *, progress: bool = False, folder: Path | None = None) -> Path:
    """Do what `fetch` does, for an entry that need not be in the registry, and into another folder if one is given."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    path = (folder or downloads_folder()) / file.name
    with locked(path):
        tries = _check_cached(file, path)
        if path.exists():
            return path
        if not _copy_from_mirror(file, path, tries):
            _download(file, path, tries, progress)
    return path


def bring_folder(file: PublicFile, *, progress: bool = False) -> Path:
    """Do what `fetch_folder` does, for an entry that need not be in the registry."""
    if not file.is_archive:
        raise ArchiveError(f"{file.name} is not an archive; use fetch({file.name!r}) for its path")
    folder = cache_folder("unpacked") / f"{Path(file.name).stem}-{file.content_hash[:12]}"
    if folder.is_dir():
        return folder
    with locked(folder):
        if not folder.is_dir():  # another process may have made it while this one waited
            source = _mirror_tree(file) or bring(file, progress=progress)
            partial = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(partial, ignore_errors=True)
            with storing(folder, file.content_size):
                unpack(source, partial, most_bytes=file.content_size)
                partial.rename(folder)
    return folder


def _mirror_tree(file: PublicFile) -> Path | None:
    """Return the mirror's folder with an archive's contents, if it has one and they are right."""
    mirror = mirror_folder()
    tree = mirror / Path(file.name).stem if mirror else None
    if tree is None or not tree.is_dir():
        return None
    if wrong := file.why_not(tree):
        raise DownloadError(_not_the_file(file, tree, wrong))
    return tree


def _not_the_file(file: PublicFile, path: Path, wrong: str) -> str:
    return (
        f"{path} in the mirror folder is not {file.name}: {wrong}. "
        "It was not used: replace it, or unset WORKBOOK_MIRROR"
    )


def _check_cached(file: PublicFile, path: Path) -> list[str]:
    """Delete a cached file that is not what it should be; return what there is to tell about it."""
    if not path.exists():
        return []
    wrong = file.why_not(path, from_mirror=True)
    if not wrong:
        return []
    told = f"{path} was damaged and is deleted: {wrong}"
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
        if wrong := file.why_not(partial, from_mirror=True):
            raise DownloadError(_not_the_file(file, source, wrong))
    return True


class _TryFailed(Exception):
    """One try at one URL failed; ``again`` says whether the same URL may do better."""

    def __init__(self, reason: str, *, again: bool = False):
        super().__init__(reason)
        self.again = again


def _download(file: PublicFile, path: Path, tries: list[str], progress: bool) -> None:
    """Try URL after URL, each up to `ATTEMPTS` times; raise `DownloadError` when none gives the right bytes.

    What has arrived stays in ``<name>.partial`` until the file is whole or proves to be wrong.
    """
    partial = path.with_name(f"{path.name}.partial")
    for url in file.urls:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(BACK_OFF * 2 ** (attempt - 1))
            resumed = partial.exists()
            try:
                with storing(path, file.size, also=partial):
                    _get(url, partial, progress)
                    wrong = file.why_not(partial)
                    if not wrong:
                        partial.replace(path)
                        _note(partial).unlink(missing_ok=True)
                        return
                _discard(partial)
                # Two halves of two editions may not fit together; one whole answer is what counts.
                raise _TryFailed(wrong, again=resumed)
            except _TryFailed as failed:
                tries.append(f"{url}: {failed}")
                if not failed.again:
                    break
    raise DownloadError(_how_to_get(file, path.parent, tries))


def _note(partial: Path) -> Path:
    """Return the file that says where a partial download came from."""
    return partial.with_name(f"{partial.name}.json")


def _discard(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _note(partial).unlink(missing_ok=True)


def _resume_headers(url: str, partial: Path) -> dict[str, str]:
    """Return the headers that ask for the rest of a partial download, only if the server's file is still the same."""
    try:
        note = json.loads(_note(partial).read_text())
        have = partial.stat().st_size
    except (OSError, ValueError):
        note, have = {}, 0
    if have and note.get("url") == url and note.get("edition"):
        return {"Range": f"bytes={have}-", "If-Range": note["edition"]}
    _discard(partial)
    return {}


def _get(url: str, partial: Path, progress: bool) -> None:
    """Append to ``partial`` what it lacks of the file at ``url``."""
    import requests  # slow to import, and needed only here
    from rich.progress import Progress

    # A server that compresses on the way would have requests unpack the .gz files.
    headers = {"Accept-Encoding": "identity"} | _resume_headers(url, partial)
    answered = False
    try:
        with requests.get(url, headers=headers, timeout=TIMEOUT, stream=True) as answer:
            answered = True
            if answer.status_code == 416:  # the partial file is as long as the server's, or longer
                _discard(partial)
                raise _TryFailed("the partial download did not fit; starting anew", again=True)
            answer.raise_for_status()
            going_on = answer.status_code == 206
            if not going_on:
                _discard(partial)
            # A weak validator ("W/…") promises nothing about bytes, so nothing can be resumed on it.
            edition = answer.headers.get("ETag", "")
            edition = answer.headers.get("Last-Modified", "") if edition.startswith("W/") or not edition else edition
            _note(partial).write_text(json.dumps({"url": url, "edition": edition}))
            length = int(answer.headers.get("Content-Length", 0))
            before = partial.stat().st_size if going_on else 0
            with partial.open("ab") as file, Progress(disable=not progress, transient=True) as bar:
                task = bar.add_task(partial.name.removesuffix(".partial"), total=before + length or None)
                bar.update(task, completed=before)
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
                    bar.advance(task, len(chunk))
                got = file.tell() - before
            if got < length:
                raise _TryFailed(f"the connection broke off after {got:,} of {length:,} bytes", again=True)
    except requests.HTTPError as error:
        status = error.response.status_code
        reason = f"HTTP status {status} {error.response.reason}"
        raise _TryFailed(reason, again=status >= 500 or status == 429) from error
    except requests.exceptions.ProxyError as error:
        raise _TryFailed("the proxy refused or did not answer (HTTP_PROXY, HTTPS_PROXY)") from error
    except requests.ConnectTimeout as error:
        raise _TryFailed(f"no connection within {TIMEOUT[0]} s") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _TryFailed("the connection broke off", again=True) from error
    except requests.ConnectionError as error:
        raise _TryFailed("the connection broke off" if answered else "no connection", again=answered) from error
    except requests.RequestException as error:
        raise _TryFailed(f"the connection broke off ({type(error).__name__})", again=True) from error


def _how_to_get(file: PublicFile, folder: Path, tries: list[str]) -> str:
    lines = [
        f"{file.name} could not be fetched ({readable_size(file.size)}, licence {file.licence}).",
        f"It is needed for: {file.purpose}.",
        "Tried:" if tries else "No host offers it for download by a program.",
        *(f"  - {told}" for told in tries),
        "Connect to the network and run this again, or get the file by hand from" if file.urls else "Get it from",
        *(f"  {place}" for place in (*file.urls, file.page) if place),
        f"and put it into the folder {folder}",
        "(or into a folder of your own that the environment variable WORKBOOK_MIRROR names).",
    ]
    return "\n".join(lines)
