"""Pre-trained backbones in PyTorch: pictures to pooled features in named stages, with their own preprocessing."""

from collections import OrderedDict
from collections.abc import Mapping
from pickle import UnpicklingError

import numpy as np
import torch
from torch import nn
from torchvision import models

from data_scripts.backbones import find_backbone
from data_scripts.cifar_resnet import MEAN, STD, CifarResNet, load_cifar_resnet
from data_scripts.errors import DownloadError
from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.pretrained_torch import load_glyphnet
from data_scripts.squeezenet_torch import SqueezeNet, load_squeezenet
from data_scripts.torch_files import fetch_torch_weights


class Standardise(nn.Module):
    """Subtracts the mean and divides by the standard deviation of red, green and blue, in [0, 1]."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map ``(N, 3, H, W)`` to the same shape."""
        return (images - self.mean) / self.std


class Grey(nn.Module):
    """Red, green and blue to their mean."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, 1, H, W)``."""
        return images.mean(dim=1, keepdim=True)


class AveragePool(nn.Module):
    """The mean over all places of a map."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C)``."""
        return x.mean(dim=(2, 3))


class Tokens(nn.Module):
    """The first step of a vision transformer: patches to tokens, the class token in front, and their places."""

    def __init__(self, network: models.VisionTransformer):
        super().__init__()
        self.patches, self.class_token = network.conv_proj, network.class_token
        self.places, self.dropout = network.encoder.pos_embedding, network.encoder.dropout

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map ``(N, 3, 224, 224)`` to tokens ``(N, 197, d)``."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.dropout(tokens + self.places)


class ClassToken(nn.Module):
    """The last step of a vision transformer: the class token, normalised."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm = norm

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map ``(N, tokens, d)`` to ``(N, d)``."""
        return self.norm(tokens)[:, 0]


class Backbone(nn.Module):
    """A network without its classifier: float pictures ``(N, 3, size, size)`` in [0, 1] to features ``(N, width)``.

    Attributes:
        name: in `data_scripts.backbones.BACKBONES`.
        size: side of the pictures that the weights were trained on, in pixels.
        width: number of features.
        prepare: the preprocessing that belongs to the weights.
        stages: named parts, from the pictures to the last map; freezing and cached features cut between them.
        pool: the last map to features.
    """

    def __init__(self, name: str, size: int, prepare: nn.Module, stages: Mapping[str, nn.Module], pool: nn.Module):
        super().__init__()
        self.name, self.size = name, size
        self.prepare, self.stages, self.pool = prepare, nn.Sequential(OrderedDict(stages)), pool
        self.to(memory_format=torch.channels_last).eval()
        with torch.inference_mode():
            self.width = self(torch.zeros(1, 3, size, size)).shape[1]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features ``(N, width)`` of pictures ``(N, 3, size, size)``."""
        return self.pool(self.stages(self.prepare(images)))

    def split(self, stage: str) -> tuple[nn.Sequential, nn.Sequential]:
        """Return what comes before a stage, preprocessing included, and the rest; both share this network's weights.

        Raises:
            ValueError: there is no such stage; the message lists them.
        """
        names = [name for name, _ in self.stages.named_children()]
        if stage not in names:
            raise ValueError(f"{self.name} has no stage {stage!r}: expected one of {', '.join(names)}")
        cut = names.index(stage)
        return nn.Sequential(self.prepare, *self.stages[:cut]), nn.Sequential(*self.stages[cut:], self.pool)


class Classifier(nn.Module):
    """A backbone and a new linear head: float pictures ``(N, 3, size, size)`` in [0, 1] to logits ``(N, classes)``.

    Args:
        backbone: becomes a part of this network, not copied.
        classes: of the head, whose weights come from PyTorch's global random numbers.
    """

    def __init__(self, backbone: Backbone, classes: int):
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(backbone.width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.head(self.backbone(images))


def as_pictures(images: np.ndarray) -> torch.Tensor:
    """Turn uint8 pictures ``(N, H, W, 3)`` into float32 ``(N, 3, H, W)`` in [0, 1], channels last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def _squeezenet(pretrained: bool) -> Backbone:
    network = load_squeezenet() if pretrained else SqueezeNet()
    layers = network.layers
    cuts = {"stem": (0, 3), "fire2_3": (3, 6), "fire4_5": (6, 9), "fire6_7": (9, 11), "fire8_9": (11, 13)}
    stages = {name: layers[start:end] for name, (start, end) in cuts.items()}
    return Backbone("squeezenet", 224, network.prepare, stages, AveragePool())


def glyphnet_backbone(network: GlyphNet) -> Backbone:
    """Return a GlyphNet's parts, all but its head, as a backbone of pictures in colour; the weights are shared."""
    stages = {"stem": nn.Sequential(network.stem, network.stem_bn, nn.ReLU())}
    stages |= {name: getattr(network, name) for name in ("block1", "block2", "block3")}
    return Backbone("glyphnet", 32, Grey(), stages, AveragePool())


def _cifar_resnet(depth: int, pretrained: bool) -> Backbone:
    network = load_cifar_resnet(depth) if pretrained else CifarResNet(depth)
    stages = {"stem": nn.Sequential(network.conv1, network.bn1, nn.ReLU())}
    stages |= {name: getattr(network, name) for name in ("layer1", "layer2", "layer3")}
    return Backbone(f"cifar_resnet{depth}", 32, Standardise(MEAN, STD), stages, AveragePool())


def _with_weights(builder: str, weights: models.WeightsEnum) -> nn.Module:
    """Return a network of torchvision with the weights in PyTorch's folder, brought there first."""
    path = fetch_torch_weights(str(weights))
    try:
        return models.get_model(builder, weights=weights)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        told = " ".join(str(error).split())[:200]
        raise DownloadError(f"{path} does not hold the weights of {builder}: {told}") from error


def _torchvision(name: str, size: int, weights: models.WeightsEnum, pretrained: bool) -> Backbone:
    builder = type(weights).__name__.removesuffix("_Weights").lower()
    network = _with_weights(builder, weights) if pretrained else models.get_model(builder, weights=None)
    preset = weights.transforms()
    prepare = Standardise(tuple(preset.mean), tuple(preset.std))
    if isinstance(network, models.VisionTransformer):
        stages = {"tokens": Tokens(network)} | dict(network.encoder.layers.named_children())
        return Backbone(name, size, prepare, stages, ClassToken(network.encoder.ln))
    if isinstance(network, models.ResNet):
        stages = {"stem": nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)}
        stages |= {name: getattr(network, name) for name in ("layer1", "layer2", "layer3", "layer4")}
        return Backbone(name, size, prepare, stages, AveragePool())
    if isinstance(network, models.VGG):
        # Each block ends in its pooling. The classifier, which flattens a 7×7 map, is left off: the pooled map serves.
        ends = [i + 1 for i, layer in enumerate(network.features) if isinstance(layer, nn.MaxPool2d)]
        stages = {
            f"block{n}": network.features[start:end]
            for n, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True), start=1)
        }
        return Backbone(name, size, prepare, stages, AveragePool())
    # MobileNet and EfficientNet: a Sequential of blocks.
    stages = {f"features{n}": layer for n, layer in enumerate(network.features)}
    return Backbone(name, size, prepare, stages, AveragePool())


def load_backbone(name: str, *, pretrained: bool = True) -> Backbone:
    """Return a backbone in evaluation mode.

    Args:
        name: one of `data_scripts.backbones.BACKBONES` that PyTorch has; its ``size`` stands there.
        pretrained: with its public weights, which are fetched when they are not in the cache (torchvision's are kept in
            ``TORCH_HOME``, the hub's in ``HF_HOME``); otherwise at random, from PyTorch's global random numbers, with
            the same preprocessing.

    Raises:
        BackboneError: no such backbone, Keras only, or the package that it needs is not installed.
        DownloadError: its weights are not in the cache and cannot be fetched, or what is there is something else.
    """
    found = find_backbone(name, "torch")
    if name == "glyphnet":
        return glyphnet_backbone(load_glyphnet() if pretrained else GlyphNet(2))
    if name == "squeezenet":
        return _squeezenet(pretrained)
    if name.startswith("cifar_resnet"):
        return _cifar_resnet(int(name.removeprefix("cifar_resnet")), pretrained)
    if found.torch == "hub":
        from data_scripts.backbones_hub import load_hub_backbone  # it needs packages that few have

        return load_hub_backbone(name, pretrained)
    return _torchvision(name, found.size, models.get_weight(found.torch), pretrained)
