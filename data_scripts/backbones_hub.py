"""Backbones built by timm and transformers, packages that the course does not install: DINOv2 and CLIP's image half."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from data_scripts.backbones_torch import Backbone, ClassToken, Standardise
from data_scripts.errors import DownloadError
from data_scripts.hub_files import HUB_MODELS, fetch_hub_model, require_package

SIZE = 224
"""Side of the pictures. DINOv2 was trained at 518; its places are interpolated to the 16 × 16 patches of this size."""


class TimmTokens(nn.Module):
    """The first step of timm's vision transformer: pictures ``(N, 3, H, W)`` to tokens ``(N, tokens, d)``."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.patches, self.class_token, self.places = network.patch_embed, network.cls_token, network.pos_embed

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens, the class token first."""
        tokens = self.patches(images)
        return torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.places


class ClipLayer(nn.Module):
    """One layer of CLIP's image half, without an attention mask: tokens ``(N, tokens, d)`` to the same shape."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the tokens."""
        return self.layer(tokens, attention_mask=None)


class ClipPool(nn.Module):
    """The last step of CLIP's image half: the class token, normalised and projected to where texts are too."""

    def __init__(self, norm: nn.Module, projection: nn.Module):
        super().__init__()
        self.norm, self.projection = norm, projection

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map ``(N, tokens, d)`` to ``(N, width)``."""
        return self.projection(self.norm(tokens[:, 0]))


@contextmanager
def _reading(name: str, folder: object) -> Iterator[None]:
    """Say which files are to blame when they do not hold the network."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        told = " ".join(str(error).split())[:200]
        raise DownloadError(f"{folder} does not hold {HUB_MODELS[name].repository}: {told}. Get it again") from error


def _dinov2(pretrained: bool) -> Backbone:
    import timm

    name, settings = "dinov2_small", {}
    folder = fetch_hub_model(name) if pretrained else None
    if folder:
        settings = {"pretrained_cfg_overlay": {"file": str(folder / HUB_MODELS[name].weights)}}
    with _reading(name, folder):
        network = timm.create_model(
            HUB_MODELS[name].folder, pretrained=pretrained, img_size=SIZE, num_classes=0, **settings
        )
    prepare = Standardise(tuple(network.pretrained_cfg["mean"]), tuple(network.pretrained_cfg["std"]))
    stages = {"tokens": TimmTokens(network)} | {f"block{n}": block for n, block in enumerate(network.blocks)}
    return Backbone(name, SIZE, prepare, stages, ClassToken(network.norm))


def load_clip() -> tuple[Any, Any]:
    """Return CLIP's two halves and its tokeniser, as `transformers` gives them, in evaluation mode.

    Raises:
        BackboneError: transformers is not installed.
        DownloadError: the files are not here and cannot be fetched, or hold something else.
    """
    require_package("clip_vit_b_32")
    from transformers import AutoTokenizer

    folder = fetch_hub_model("clip_vit_b_32")
    with _reading("clip_vit_b_32", folder):
        return _clip_model(folder), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _clip_model(folder: object) -> Any:
    from transformers import CLIPConfig, CLIPModel
    from transformers.utils import logging

    if folder is None:
        return CLIPModel(CLIPConfig()).eval()  # the defaults are those of ViT-B/32
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, report = CLIPModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    finally:
        if bars:
            logging.enable_progress_bar()
    if report["missing_keys"]:
        raise ValueError(f"no weights for {', '.join(sorted(report['missing_keys'])[:3])}")
    return model.eval()


def clip_preprocessing() -> Standardise:
    """Return the preprocessing that CLIP was trained with, for pictures in [0, 1]."""
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    return Standardise(tuple(OPENAI_CLIP_MEAN), tuple(OPENAI_CLIP_STD))


def _clip(pretrained: bool) -> Backbone:
    name = "clip_vit_b_32"
    folder = fetch_hub_model(name) if pretrained else None
    with _reading(name, folder):
        model = _clip_model(folder)
    vision = model.vision_model
    stages = {"tokens": nn.Sequential(vision.embeddings, vision.pre_layrnorm)}
    stages |= {f"block{n}": ClipLayer(layer) for n, layer in enumerate(vision.encoder.layers)}
    size = vision.config.image_size
    return Backbone(name, size, clip_preprocessing(), stages, ClipPool(vision.post_layernorm, model.visual_projection))


def load_hub_backbone(name: str, pretrained: bool) -> Backbone:
    """Return a backbone of `data_scripts.hub_files.HUB_MODELS`, as `data_scripts.backbones_torch.load_backbone` does.

    Raises:
        BackboneError: the package that builds it is not installed.
        DownloadError: its weights are not here and cannot be fetched, or hold something else.
    """
    require_package(name)
    return {"dinov2_small": _dinov2, "clip_vit_b_32": _clip}[name](pretrained)
