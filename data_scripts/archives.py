"""Archives and folders of files, compared by what they hold and unpacked without trusting them.

Two archives of the same files differ in their bytes when they were packed by another tool or on another day. What
stays the same is the *contents*: relative paths and bytes. `content_hash` is the hash of those.
"""

import hashlib
import lzma
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from data_scripts.errors import ArchiveError

CHUNK = 2**20
LITTER = ("__MACOSX", "Thumbs.db", "desktop.ini")
"""What desktops leave in folders; it counts as little as names that begin with a point."""


class Member(NamedTuple):
    """A file of an archive or folder: its path inside, its stated size in bytes, and how to open it."""

    path: PurePosixPath
    size: int
    open: Callable[[], BinaryIO]


def _checked(name: str, where: Path) -> PurePosixPath:
    """Return the path of a member, unless it leads out of the archive."""
    path = PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/")))
    drive = len(path.parts[0]) == 2 and path.parts[0].endswith(":") if path.parts else False
    if path.is_absolute() or ".." in path.parts or not path.parts or drive:
        raise ArchiveError(f"{where.name}: member {name!r} leads out of the folder it is unpacked to; refused")
    return path


def _zip_members(archive: zipfile.ZipFile, where: Path) -> Iterator[Member]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir():
            continue
        if kind not in (0, stat.S_IFREG):
            raise ArchiveError(f"{where.name}: member {info.filename!r} is a link or a device; refused")
        if info.flag_bits & 1:
            raise ArchiveError(f"{where.name}: member {info.filename!r} is encrypted; refused")
        yield Member(_checked(info.filename, where), info.file_size, lambda info=info: archive.open(info))


def _tar_members(archive: tarfile.TarFile, where: Path) -> Iterator[Member]:
    for info in archive:
        if info.isdir():
            continue
        if not info.isreg():
            raise ArchiveError(f"{where.name}: member {info.name!r} is a link or a device; refused")
        yield Member(_checked(info.name, where), info.size, lambda info=info: archive.extractfile(info))


def _folder_members(folder: Path) -> Iterator[Member]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            yield Member(_checked(name, folder), path.stat().st_size, lambda path=path: path.open("rb"))


def _is_litter(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part in LITTER for part in path.parts)


def _without_common_top(members: list[Member]) -> list[Member]:
    """Take off the folders that everything lies in: whether an archive has them is its packer's habit."""
    while members and len({m.path.parts[0] for m in members}) == 1 and all(len(m.path.parts) > 1 for m in members):
        members = [member._replace(path=PurePosixPath(*member.path.parts[1:])) for member in members]
    return members


def visit(source: Path, use: Callable[[list[Member]], None]) -> None:
    """Call ``use`` with the members of a zip, a tar (compressed or not) or a folder, sorted by path.

    Directories, hidden files and `LITTER` are left out, and so are folders that everything else lies in.

    Raises:
        ArchiveError: ``source`` is none of the three, is damaged, or holds what must not be unpacked (a path that
            leads out of it, a link, a device, an encrypted file, two members of one path).
    """
    try:
        if source.is_dir():
            _visit(source, _folder_members(source), use)
        elif zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                _visit(source, _zip_members(archive, source), use)
        elif tarfile.is_tarfile(source):
            with tarfile.open(source) as archive:
                _visit(source, _tar_members(archive, source), use)
        else:
            raise ArchiveError(f"{source.name}: expected a zip, a tar or a folder, got a file of another kind")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        raise ArchiveError(f"{source.name} is damaged: {error}") from error


def _visit(source: Path, found: Iterator[Member], use: Callable[[list[Member]], None]) -> None:
    members = _without_common_top([member for member in found if not _is_litter(member.path)])
    members.sort(key=lambda member: member.path.as_posix())
    folders = {parent for member in members for parent in member.path.parents}
    files = set()
    for member in members:
        if member.path in files or member.path in folders:
            raise ArchiveError(f"{source.name}: two members are called {member.path.as_posix()!r}; refused")
        files.add(member.path)
    use(members)


def content_hash(source: Path) -> str:
    """Return the hash of what a zip, a tar or a folder holds, the same for every way to pack it.

    It is the SHA-256 of the lines ``<SHA-256 of a file>  <its path>`` (as ``sha256sum`` writes them), sorted by path.

    Raises:
        ArchiveError: see `visit`.
    """
    lines = []

    def hash_all(members: list[Member]) -> None:
        for member in members:
            with member.open() as file:
                digest = hashlib.sha256()
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
            lines.append(f"{digest.hexdigest()}  {member.path.as_posix()}\n")

    visit(source, hash_all)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def unpack(source: Path, folder: Path, *, most_bytes: int, most_files: int = 100_000) -> int:
    """Write the members of an archive (or folder) under ``folder``; return their number.

    Args:
        source: a zip, a tar or a folder.
        folder: must be new or empty.
        most_bytes: refuse an archive that unpacks to more; counted while writing, whatever its headers state.
        most_files: refuse an archive of more files.

    Raises:
        ArchiveError: see `visit`; or a bound is passed, or ``folder`` holds something. What was written until then
            is removed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ArchiveError(f"{folder} is not empty: nothing is unpacked over other files")
    count = 0

    def write_all(members: list[Member]) -> None:
        nonlocal count
        if len(members) > most_files:
            raise ArchiveError(f"{source.name} holds {len(members):,} files, more than {most_files:,}; refused")
        left = most_bytes
        for member in members:
            path = folder.joinpath(*member.path.parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as incoming, path.open("xb") as outgoing:
                while chunk := incoming.read(min(CHUNK, left + 1)):
                    left -= len(chunk)
                    if left < 0:
                        raise ArchiveError(f"{source.name} unpacks to more than {most_bytes:,} bytes; refused")
                    outgoing.write(chunk)
        count = len(members)

    try:
        visit(source, write_all)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return count
