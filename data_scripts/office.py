"""Office: ten kinds of things, in an online shop's pictures (amazon) and before a webcam.

Source: K. Saenko et al., Adapting visual category models to new domains, ECCV 2010; the ten classes shared with
Caltech-256: B. Gong et al., Geodesic flow kernel for unsupervised domain adaptation, CVPR 2012.
"""

from data_scripts.download import fetch_folder
from data_scripts.image_folder import PhotoTask, read_image_folder

DOMAINS = ("amazon", "webcam")


def load_office(domain: str, *, split_seed: int = 0, size: int = 224) -> PhotoTask:
    """Load one domain of Office's ten classes: 958 pictures of amazon or 295 of webcam.

    Args:
        domain: one of `DOMAINS`.
        split_seed: of the stratified split into 50 % training, 15 % validation and 35 % test rows. (Several pictures
            show the same thing from another side, so that a split of one domain is easier than new things would be.)
        size: side of the decoded squares, in pixels.

    Raises:
        ValueError: the domain is not one of `DOMAINS`.
        DownloadError: the archive is not in the cache or the mirror folder; no host offers it to a program.
    """
    if domain not in DOMAINS:
        raise ValueError(f"domain {domain!r} is unknown; expected one of {', '.join(map(repr, DOMAINS))}")
    # A picture shows its thing as large as it can: nothing is cropped but what makes it a square.
    folder = fetch_folder("office_amazon_webcam.zip") / domain
    return read_image_folder(folder, size=size, split_seed=split_seed, crop=1.0)
