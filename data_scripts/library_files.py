"""Weights that a library keeps in a folder of its own, where other programs may use them too."""

from pathlib import Path

from data_scripts.download import bring
from data_scripts.errors import CacheError, DownloadError
from data_scripts.registry import PublicFile


def bring_to_library(file: PublicFile, folder: Path, variable: str, *, progress: bool = False) -> Path:
    """Return the path of a file in a library's folder, bringing it there when it is missing.

    A file that is there already and is not the right one is refused and left alone: it is not ours to delete. Nothing
    is written to the folder when the right one is there, so that it may be read-only.

    Args:
        file: what is wanted.
        folder: the library's, made when missing.
        variable: the environment variable that moves the folder, for the message when it cannot be written to.
        progress: draw a bar while downloading.

    Raises:
        DownloadError: the file could not be fetched, or another stands under its name here or in the mirror folder;
            the message names it, its size, where to get it by hand and where to put it.
        CacheError: the folder cannot be written to, or the disk is full.
    """
    path = folder / file.name
    if path.exists():
        if wrong := file.why_not(path):
            raise DownloadError(
                f"{path} is not the file of that name, or it is cut off: {wrong}. It was not used. Delete it and run "
                f"this again, or replace it by {file.urls[0]}"
            )
        return path
    try:
        return bring(file, folder=folder, progress=progress)
    except CacheError as error:
        raise CacheError(str(error).replace("WORKBOOK_CACHE", variable)) from error
    except OSError as error:
        raise CacheError(
            f"the folder {folder} cannot be made: {error.strerror}. Set {variable} to a folder of yours"
        ) from error
