"""Characters that a GlyphNet was not trained on, for few-shot episodes: printed ones that ship, and Omniglot's.

The shipped GlyphNet knows printed Latin, Greek, Cyrillic, Armenian, Georgian and Lao letters. So of Omniglot's small
background set only Balinese, Early Aramaic and Korean are unseen; and of the letters that ship, only those that look
like digits are unseen by the GlyphNet that was trained without them.
"""

import numpy as np
import torch

from data_scripts.augment_glyphs import augment
from data_scripts.backbones_torch import Backbone, glyphnet_backbone
from data_scripts.glyphnet_weights import WEIGHTS, read_letters
from data_scripts.glyphs import load_glyphs
from data_scripts.image_folder import in_colour
from data_scripts.omniglot import load_omniglot
from data_scripts.photographs import photo_patches
from data_scripts.pretrained_torch import load_glyphnet

WITHOUT_LOOKALIKES = WEIGHTS.with_name("glyphnet_without_lookalikes.safetensors")
MET_IN_PRINT = ("Greek", "Latin")


def load_glyphnet_without_lookalikes() -> Backbone:
    """Return, as a backbone, the GlyphNet that was trained without the letters that look like digits."""
    return glyphnet_backbone(load_glyphnet(WITHOUT_LOOKALIKES))


def printed_lookalikes(*, seed: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return printed letters that `load_glyphnet_without_lookalikes` never met, bent and laid over backgrounds.

    Args:
        seed: of the distortions (those of pre-training) and of the photo patches (of the halves that it did not use).

    Returns:
        Pictures uint8 ``(N, 32, 32, 3)`` in grey, class numbers ``(N,)``, and a name for each class; at least eight
        pictures a class, each in another type face.
    """
    letters, met = load_glyphs(), set(read_letters(WITHOUT_LOOKALIKES))
    rows, labels, names = _only([name not in met for name in letters.class_names], letters.labels, letters.class_names)
    patches = torch.from_numpy(photo_patches(1000, half="task", seed=seed) / 255).float()[:, None]
    ink = torch.from_numpy(letters.inputs[rows])[:, None]
    return in_colour(augment(ink, patches, torch.Generator().manual_seed(seed))[:, 0].numpy()), labels, names


def omniglot_unseen() -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return Omniglot's Balinese, Early Aramaic and Korean drawings, as `printed_lookalikes` does; 20 a character.

    Raises:
        DownloadError: the archive is not in the cache and cannot be fetched.
    """
    task = load_omniglot()
    wanted = [name.split("/")[0] not in MET_IN_PRINT for name in task.class_names]
    rows, labels, names = _only(wanted, task.labels, task.class_names)
    return in_colour(task.inputs[rows]), labels, names


def _only(
    wanted: list[bool], labels: np.ndarray, names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return the rows of the wanted classes, their labels numbered anew, and the classes' names."""
    keep = np.flatnonzero(wanted)
    rows = np.flatnonzero(np.isin(labels, keep))
    return rows, np.searchsorted(keep, labels[rows]), tuple(names[label] for label in keep)
