"""Errors that tell a learner what is missing and what to do about it."""


class DataError(RuntimeError):
    """Data could not be brought to a notebook; the message says why and what to do."""


class CacheError(DataError):
    """The cache folder cannot be used: not writable, or the disk is full."""


class DownloadError(DataError):
    """A public file is not in the cache and could not be fetched."""


class RegistryError(DataError):
    """``registry.toml`` is malformed, or does not list the file that was asked for."""


class ArchiveError(DataError):
    """An archive is damaged, or holds what must not be unpacked."""


class ImageFolderError(DataError):
    """A folder of pictures is not what a task needs, or a picture in it cannot be used."""


class BackboneError(DataError):
    """No such pre-trained network, or not in this framework."""
