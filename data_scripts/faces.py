"""Faces and other patches: the subset of Labeled Faces in the Wild that scikit-image carries, enlarged to 32×32.

Source: G. B. Huang et al., Labeled Faces in the Wild, University of Massachusetts technical report 07-49, 2007.
"""

import warnings

import numpy as np
from PIL import Image

from data_scripts.task import Task, split_rows

with warnings.catch_warnings():
    # scikit-image's downloader, which is not used here, warns of a missing progress bar in a notebook.
    warnings.simplefilter("ignore")
    from skimage.data import lfw_subset

FACES = 100
"""The first hundred pictures show faces, the other hundred do not."""


def load_faces(*, split_seed: int = 0) -> Task:
    """Load the faces.

    Args:
        split_seed: of the stratified split into 50 % training, 15 % validation and 35 % test rows.

    Returns:
        A `Task` with images float32 ``(200, 32, 32)`` in [0, 1], classes ``"not a face"`` and ``"face"``.
    """
    small = lfw_subset().astype(np.float32)
    images = np.stack([np.asarray(Image.fromarray(x).resize((32, 32), Image.Resampling.BILINEAR)) for x in small])
    labels = (np.arange(len(images)) < FACES).astype(np.int64)
    train, validation, test = split_rows(labels, seed=split_seed)
    return Task("faces", images.clip(0, 1), labels, ("not a face", "face"), train, validation, test)
