"""The weights of keras.applications: which file each network asks for, and how it comes into Keras's own folder.

Keras would fetch them by itself, but without a time limit, and a file for which it knows no hash it takes as it finds
it. Here they go through the course's downloads (mirror folder, time limits, a message that says what to do by hand);
Keras then finds them in place and checks its own hash once more.
"""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_scripts.library_files import bring_to_library
from data_scripts.registry import PublicFile

_HOST = "https://storage.googleapis.com/"
_LICENCES = {"ResNet50": "MIT", "VGG16": "CC BY 4.0"}
_CITATIONS = {
    "ResNet50": "K. He, X. Zhang, S. Ren and J. Sun. Deep residual learning for image recognition. CVPR 2016.",
    "VGG16": "K. Simonyan and A. Zisserman. Very deep convolutional networks for large-scale image recognition. 2015.",
    "MobileNetV2": "M. Sandler et al. MobileNetV2: inverted residuals and linear bottlenecks. CVPR 2018.",
    "MobileNetV3Large": "A. Howard et al. Searching for MobileNetV3. ICCV 2019.",
    "EfficientNetB0": "M. Tan and Q. Le. EfficientNet: rethinking model scaling for CNNs. ICML 2019.",
}


@dataclass(frozen=True)
class KerasFile(PublicFile):
    """A `PublicFile` that is recognised by its size where Keras publishes no hash."""

    @property
    def expected(self) -> str:
        """What the file is recognised by, for a message."""
        return super().expected if self.hash else f"{self.size:,} bytes"

    def why_not(self, path: Path, *, from_mirror: bool = False) -> str:
        """Return why ``path`` is not this file, as half a sentence; an empty string when it is."""
        if self.hash:
            return super().why_not(path, from_mirror=from_mirror)
        got = path.stat().st_size
        return "" if got == self.size else f"expected {self.expected}, got {got:,}"


def _file(network: str, place: str, size: int, md5: str = "") -> KerasFile:
    return KerasFile(
        name=place.rpartition("/")[2],
        urls=(_HOST + place,),
        size=size,
        licence=_LICENCES.get(network, "Apache 2.0"),
        citation=_CITATIONS[network],
        purpose=f"keras.applications.{network} with ImageNet weights, without its classifier",
        hash=md5 and f"md5:{md5}",
    )


_APPLICATIONS = "tensorflow/keras-applications"
KERAS_FILES: Mapping[str, KerasFile] = {
    "ResNet50": _file(
        "ResNet50",
        f"{_APPLICATIONS}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        94_765_736,
        "4d473c1dd8becc155b73f8504c6f6626",
    ),
    "VGG16": _file(
        "VGG16",
        f"{_APPLICATIONS}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        58_889_256,
        "6d6bbae143d832006294945121d1f1fc",
    ),
    "MobileNetV2": _file(
        "MobileNetV2",
        f"{_APPLICATIONS}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        9_406_464,
    ),
    "MobileNetV3Large": _file(
        "MobileNetV3Large",
        f"{_APPLICATIONS}/mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        12_683_000,
        "07fb09a5933dd0c8eaafa16978110389",
    ),
    "EfficientNetB0": _file(
        "EfficientNetB0",
        "keras-applications/efficientnetb0_notop.h5",
        16_705_208,
        "50bc09e76180e00e4465e1a485ddc09d",
    ),
}
"""Network → the file that Keras 3 looks for (names and MD5 as in its source; sizes as its host reports them)."""


def keras_models_folder() -> Path:
    """Return the folder in which Keras keeps weights: ``models`` in ``KERAS_HOME``, or where Keras goes instead."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
    if not os.access(home, os.W_OK):  # Keras's own rule
        home = Path("/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir()) / ".keras"
    return home / "models"


def fetch_keras_weights(network: str) -> Path:
    """Return the file with a network's weights in Keras's folder, bringing it there when it is missing.

    A file that is there already and is not the right one is refused, and left alone: it is not ours to delete.

    Args:
        network: one of `KERAS_FILES`.

    Raises:
        DownloadError: the file could not be fetched, or another stands under its name here or in the mirror folder;
            the message names it, where to get it by hand and where to put it.
        CacheError: Keras's folder cannot be written to, or the disk is full.
    """
    return bring_to_library(KERAS_FILES[network], keras_models_folder(), "KERAS_HOME")
