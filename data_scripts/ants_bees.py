"""Ants and bees: 397 photographs, the data of PyTorch's tutorial on transfer learning.

They come from ImageNet, as do the weights that are usually tried on them: the pre-training has seen the kinds of
pictures, and some of the very pictures may be among those it was trained on. A score on them says little of how a
network will do on things that ImageNet does not hold.
"""

from dataclasses import replace

from data_scripts.download import fetch_folder
from data_scripts.image_folder import SUFFIXES, PhotoTask, read_image_folder


def load_ants_bees(*, split_seed: int = 0, size: int = 224) -> PhotoTask:
    """Load the photographs of ants and bees; the tutorial's ``val`` folder is the test set.

    Args:
        split_seed: of the 20 % of the 244 training pictures that become validation rows.
        size: side of the decoded squares, in pixels.

    Returns:
        A `PhotoTask` with classes ``"ants"`` and ``"bees"`` and 153 test rows.

    Raises:
        DownloadError: the archive is not in the cache and cannot be fetched.
    """
    # The archive's only GIF is a web server's "image not found".
    suffixes = tuple(suffix for suffix in SUFFIXES if suffix != ".gif")
    folder = fetch_folder("hymenoptera_data.zip")
    task = read_image_folder(folder, size=size, split_seed=split_seed, suffixes=suffixes)
    return replace(task, name="ants_bees")
