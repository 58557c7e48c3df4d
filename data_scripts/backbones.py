"""Which pre-trained networks the public profile offers, by name, and in which framework.

A backbone turns pictures into pooled features; its classifier head is left off. `data_scripts.backbones_torch` and
`data_scripts.backbones_keras` load them. GlyphNet, which ships with the course, was trained on printed letters, the
ResNets for CIFAR on CIFAR-10, DINOv2 on pictures without labels, CLIP on pictures and their captions, all others on
ImageNet. `data_scripts.backbone_files` knows where the weights come from.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from data_scripts.errors import BackboneError
from data_scripts.hub_files import HUB_MODELS
from data_scripts.squeezenet_weights import FILE as SQUEEZENET

FRAMEWORKS = {"torch": "PyTorch", "keras": "Keras"}


@dataclass(frozen=True)
class Backbone:
    """A pre-trained network.

    Attributes:
        size: side of the pictures that it was trained on, in pixels.
        torch: where PyTorch's version comes from: ``"shipped"``, ``"registry"`` (a file of ``registry.toml``), the
            name of torchvision's weights (``"ResNet18_Weights.IMAGENET1K_V1"``), or ``"hub"`` (through a package that
            the course does not install, see `data_scripts.hub_files`); empty where there is none.
        keras: ``"shipped"``, ``"registry"``, or the name in ``keras.applications``; empty where there is none.
        batch_norm: whether it has batch normalisation.
        file: in ``registry.toml``, for ``"registry"``.
    """

    size: int
    torch: str = ""
    keras: str = ""
    batch_norm: bool = True
    file: str = ""


BACKBONES: Mapping[str, Backbone] = {
    "glyphnet": Backbone(32, "shipped", "shipped"),
    "squeezenet": Backbone(224, "registry", "registry", False, SQUEEZENET),
    "resnet18": Backbone(224, "ResNet18_Weights.IMAGENET1K_V1"),
    "resnet50": Backbone(224, "ResNet50_Weights.IMAGENET1K_V2", "ResNet50"),
    "vgg16": Backbone(224, "VGG16_Weights.IMAGENET1K_V1", "VGG16", batch_norm=False),
    "mobilenet_v2": Backbone(224, "MobileNet_V2_Weights.IMAGENET1K_V2", "MobileNetV2"),
    "mobilenet_v3_large": Backbone(224, "MobileNet_V3_Large_Weights.IMAGENET1K_V2", "MobileNetV3Large"),
    "efficientnet_b0": Backbone(224, "EfficientNet_B0_Weights.IMAGENET1K_V1", "EfficientNetB0"),
    "vit_b_16": Backbone(224, "ViT_B_16_Weights.IMAGENET1K_V1", batch_norm=False),
    "dinov2_small": Backbone(224, "hub", batch_norm=False),
    "clip_vit_b_32": Backbone(224, "hub", batch_norm=False),
    "cifar_resnet20": Backbone(32, "registry", file="resnet20-12fca82f.th"),
    "cifar_resnet32": Backbone(32, "registry", file="resnet32-d509ac18.th"),
    "cifar_resnet44": Backbone(32, "registry", file="resnet44-014dd654.th"),
    "cifar_resnet56": Backbone(32, "registry", file="resnet56-4bfd9763.th"),
}


def find_backbone(name: str, framework: str) -> Backbone:
    """Return a backbone that a framework has.

    Args:
        name: one of `BACKBONES`.
        framework: ``"torch"`` or ``"keras"``.

    Raises:
        BackboneError: there is no such backbone, or only in the other framework; the message lists what there is.
    """
    offered = [other for other, backbone in BACKBONES.items() if getattr(backbone, framework)]
    if name in offered:
        return BACKBONES[name]
    ours = FRAMEWORKS[framework]
    if name in BACKBONES:
        (theirs,) = (spelt for key, spelt in FRAMEWORKS.items() if key != framework)
        raise BackboneError(f"backbone {name!r} is there for {theirs} only; {ours} has {', '.join(offered)}")
    raise BackboneError(f"backbone {name!r} is unknown; {ours} has {', '.join(offered)}")


def table() -> str:
    """Return the backbones as a Markdown table: picture size, which framework has which, batch normalisation."""
    lines = ["| backbone | pictures | PyTorch | Keras | batch norm |", "|---|---|---|---|---|"]
    for name, one in BACKBONES.items():
        ours = f"with `{HUB_MODELS[name].package}`" if one.torch == "hub" else _mark(one.torch)
        marks = f"{ours} | {_mark(one.keras)} | {_mark(one.batch_norm)}"
        lines.append(f"| `{name}` | {one.size} × {one.size} | {marks} |")
    return "\n".join(lines)


def _mark(has: object) -> str:
    return "yes" if has else "–"
