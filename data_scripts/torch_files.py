"""The weights of torchvision: which file each name stands for, and how it comes into PyTorch's own folder.

torchvision would fetch them by itself, but without a time limit, and it checks the hash in a file's name only while it
downloads, not when it finds the file in place. Here they go through the course's downloads (mirror folder, hash, time
limits, a message that says what to do by hand); torchvision then finds them in place.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_scripts.cache import sha256_of
from data_scripts.library_files import bring_to_library
from data_scripts.registry import PublicFile

_HOST = "https://download.pytorch.org/models/"
_LICENCE = "not stated for the weights (torchvision: BSD-3-Clause); trained on ImageNet, for research and teaching"


@dataclass(frozen=True)
class TorchFile(PublicFile):
    """A `PublicFile` that is recognised by the first digits of its SHA-256, which stand at the end of its name."""

    @property
    def expected(self) -> str:
        """What the file is recognised by, for a message."""
        return f"SHA-256 {self.digits}…"

    @property
    def digits(self) -> str:
        """Those first digits."""
        return self.hash.removeprefix("sha256:")

    def why_not(self, path: Path, *, from_mirror: bool = False) -> str:
        """Return why ``path`` is not this file, as half a sentence; an empty string when it is."""
        got = sha256_of(path)
        if got.startswith(self.digits):
            return ""
        return f"expected {self.expected}, got {got} ({path.stat().st_size:,} bytes of about {self.size:,})"


def _file(name: str, mebibytes: float, citation: str) -> TorchFile:
    network = name.rpartition("-")[0]
    return TorchFile(
        name=name,
        urls=(_HOST + name,),
        size=round(mebibytes * 2**20),
        licence=_LICENCE,
        citation=citation,
        purpose=f"torchvision's {network} with ImageNet weights",
        hash=f"sha256:{Path(name).stem.rpartition('-')[2]}",
    )


_RESNET = "K. He, X. Zhang, S. Ren and J. Sun. Deep residual learning for image recognition. CVPR 2016."
TORCH_FILES: Mapping[str, TorchFile] = {
    "ResNet18_Weights.IMAGENET1K_V1": _file("resnet18-f37072fd.pth", 44.661, _RESNET),
    "ResNet50_Weights.IMAGENET1K_V2": _file("resnet50-11ad3fa6.pth", 97.79, _RESNET),
    "VGG16_Weights.IMAGENET1K_V1": _file(
        "vgg16-397923af.pth",
        527.796,
        "K. Simonyan and A. Zisserman. Very deep convolutional networks for large-scale image recognition. ICLR 2015.",
    ),
    "MobileNet_V2_Weights.IMAGENET1K_V2": _file(
        "mobilenet_v2-7ebf99e0.pth",
        13.598,
        "M. Sandler et al. MobileNetV2: inverted residuals and linear bottlenecks. CVPR 2018.",
    ),
    "MobileNet_V3_Large_Weights.IMAGENET1K_V2": _file(
        "mobilenet_v3_large-5c1a4163.pth", 21.107, "A. Howard et al. Searching for MobileNetV3. ICCV 2019."
    ),
    "EfficientNet_B0_Weights.IMAGENET1K_V1": _file(
        "efficientnet_b0_rwightman-7f5810bc.pth",
        20.451,
        "M. Tan and Q. Le. EfficientNet: rethinking model scaling for convolutional neural networks. ICML 2019.",
    ),
    "ViT_B_16_Weights.IMAGENET1K_V1": _file(
        "vit_b_16-c867db91.pth",
        330.285,
        "A. Dosovitskiy et al. An image is worth 16x16 words: transformers for image recognition at scale. ICLR 2021.",
    ),
}
"""Name of the weights in torchvision → their file (names and sizes as in torchvision's source)."""


def torch_checkpoints_folder() -> Path:
    """Return the folder in which PyTorch keeps weights: ``hub/checkpoints`` in ``TORCH_HOME``."""
    base = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(base).expanduser() / "hub" / "checkpoints"


def fetch_torch_weights(weights: str, *, progress: bool = False) -> Path:
    """Return the file with a network's weights in PyTorch's folder, bringing it there when it is missing.

    Args:
        weights: one of `TORCH_FILES`.
        progress: draw a bar while downloading.

    Raises:
        As `bring_to_library`.
    """
    return bring_to_library(TORCH_FILES[weights], torch_checkpoints_folder(), "TORCH_HOME", progress=progress)
