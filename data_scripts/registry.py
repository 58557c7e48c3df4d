"""What ``registry.toml`` lists: every public file that the workbook can download, and how each is recognised."""

import hashlib
import re
import tomllib
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from data_scripts.archives import content_hash
from data_scripts.errors import ArchiveError, RegistryError

REGISTRY = Path(__file__).with_name("registry.toml")
_HASHES = {"sha256": 64, "md5": 32}


@dataclass(frozen=True)
class Packing:
    """Bytes that a mirror folder may hold under a file's name: ``size``, ``hash``; ``note`` says why."""

    hash: str
    size: int
    note: str = ""


@dataclass(frozen=True)
class PublicFile:
    """One entry of the registry; the head of ``registry.toml`` explains the fields."""

    name: str
    urls: tuple[str, ...]
    size: int
    licence: str
    citation: str
    purpose: str
    hash: str = ""
    content_hash: str = ""
    content_size: int = 0
    page: str = ""
    other_packings: tuple[Packing, ...] = ()

    @property
    def is_archive(self) -> bool:
        """Whether the file is an archive that is recognised by what it holds."""
        return bool(self.content_hash)

    @property
    def expected(self) -> str:
        """What the file is recognised by, for a message."""
        return f"contents {self.content_hash}" if self.is_archive else _spelt(self.hash)

    def why_not(self, path: Path, *, from_mirror: bool = False) -> str:
        """Return why ``path`` is not this file, as half a sentence; an empty string when it is.

        Args:
            path: a file; for an archive also a folder with its contents.
            from_mirror: whether the bytes of `other_packings` do too.
        """
        if self.is_archive:
            try:
                got = content_hash(path)
            except ArchiveError as error:
                return f"expected {self.expected}, got an archive that cannot be read: {error}"
            return "" if got == self.content_hash else f"expected {self.expected}, got contents {got}"
        accepted = [self.hash, *(packing.hash for packing in self.other_packings if from_mirror)]
        if any(_has_hash(path, one) for one in accepted):
            return ""
        kind = self.hash.partition(":")[0]
        sizes = f"{path.stat().st_size:,} bytes of {self.size:,}"
        return f"expected {self.expected}, got {_digest(path, kind)} ({sizes})"


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _has_hash(path: Path, wanted: str) -> bool:
    kind, _, digest = wanted.partition(":")
    return _digest(path, kind) == digest


def _spelt(wanted: str) -> str:
    kind, _, digest = wanted.partition(":")
    return f"{'SHA-256' if kind == 'sha256' else 'MD5'} {digest}"


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
    needed = {"urls", "size", "licence", "citation", "purpose"}
    wrong = [f"unknown field {key!r}" for key in sorted(entry.keys() - known)]
    wrong += [f"no {key!r}" for key in sorted(needed - entry.keys())]
    if ("hash" in entry) == ("content_hash" in entry):
        wrong.append("expected either 'hash' (a file) or 'content_hash' (an archive)")
    if ("content_hash" in entry) != ("content_size" in entry):
        wrong.append("'content_hash' and 'content_size' belong together")
    for packing in [entry, *entry.get("other_packings", [])]:
        if "hash" in packing and not _is_hash(packing["hash"]):
            wrong.append(f"hash {packing['hash']!r}, expected 'sha256:' or 'md5:' and hexadecimal digits")
        if not (isinstance(packing.get("size"), int) and packing["size"] > 0):
            wrong.append(f"size {packing.get('size')!r}, expected a number of bytes")
    if "content_hash" in entry and not _is_hash(f"sha256:{entry['content_hash']}"):
        wrong.append(f"content_hash {entry['content_hash']!r}, expected 64 hexadecimal digits")
    wrong += [f"URL {url!r}" for url in entry.get("urls", []) if not re.match(r"https?://[^/]+/", url)]
    if not entry.get("urls") and not entry.get("page"):
        wrong.append("expected 'urls', or a 'page' where a person gets the file")
    if "/" in name or name.startswith("."):
        wrong.append("the name is no plain file name")
    if wrong:
        raise RegistryError(f"registry.toml, {name!r}: {'; '.join(wrong)}")
    others = tuple(Packing(**packing) for packing in entry.get("other_packings", []))
    return PublicFile(name=name, **(entry | {"urls": tuple(entry["urls"]), "other_packings": others}))


def _is_hash(text: object) -> bool:
    kind, _, digest = str(text).partition(":")
    return kind in _HASHES and bool(re.fullmatch(rf"[0-9a-f]{{{_HASHES[kind]}}}", digest))


def lookup(name: str) -> PublicFile:
    """Return an entry of the registry.

    Raises:
        RegistryError: no such file is listed.
    """
    registry = read_registry()
    if name not in registry:
        raise RegistryError(f"{name!r} is not in registry.toml, which lists: {', '.join(sorted(registry))}")
    return registry[name]
