"""CLIP's zero-shot baseline: pictures told apart by the names of their classes alone, without a labelled picture.

Source: A. Radford et al., Learning transferable visual models from natural language supervision, ICML 2021, section
3.1. Needs the package transformers, which the course does not install.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from data_scripts.backbones_hub import clip_preprocessing, load_clip
from data_scripts.backbones_torch import as_pictures

TEMPLATES = ("a photo of a {}.", "a blurry photo of a {}.", "a close-up photo of a {}.", "a photo of many {}.")
"""Sentences around a class's name. Their embeddings are averaged."""


@torch.inference_mode()
def zero_shot(
    pictures: np.ndarray, class_names: Sequence[str], *, templates: Sequence[str] = TEMPLATES, batch: int = 32
) -> np.ndarray:
    """Return the probabilities ``(N, classes)`` that CLIP gives to each class of pictures it was not trained on.

    Args:
        pictures: uint8 ``(N, 224, 224, 3)``, red, green, blue.
        class_names: as a person would say them; an underscore is read as a space.
        templates: sentences with ``{}`` in the place of the name.
        batch: pictures at a time.

    Raises:
        ValueError: fewer than two classes, a template without ``{}``, or pictures of another shape or type.
        BackboneError: transformers is not installed.
        DownloadError: CLIP's files are not here and cannot be fetched.
    """
    if len(class_names) < 2:
        raise ValueError(f"{len(class_names)} class names: expected two or more")
    if wrong := [template for template in templates if "{}" not in template]:
        raise ValueError(f"template {wrong[0]!r}: expected '{{}}' in the place of the class's name")
    if not templates:
        raise ValueError("no template: expected one or more")
    model, tokenizer = load_clip()
    side = model.config.vision_config.image_size
    if pictures.dtype != np.uint8 or pictures.shape[1:] != (side, side, 3):
        raise ValueError(f"pictures {pictures.dtype} {pictures.shape}: expected uint8 (N, {side}, {side}, 3)")
    texts = torch.stack([_text_direction(model, tokenizer, name, templates) for name in class_names])
    prepare, scale = clip_preprocessing(), model.logit_scale.exp()
    rows = []
    for start in range(0, len(pictures), batch):
        images = prepare(as_pictures(pictures[start : start + batch]))
        features = model.visual_projection(model.vision_model(pixel_values=images).pooler_output)
        rows.append((scale * F.normalize(features, dim=1) @ texts.T).softmax(dim=1))
    return torch.cat(rows).numpy() if rows else np.zeros((0, len(class_names)), np.float32)


def _text_direction(model: object, tokenizer: object, name: str, templates: Sequence[str]) -> torch.Tensor:
    """Return the unit vector of a class: the mean over templates of the texts' unit vectors."""
    texts = [template.format(name.replace("_", " ")) for template in templates]
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    features = model.text_projection(model.text_model(**tokens).pooler_output)
    return F.normalize(F.normalize(features, dim=1).mean(dim=0), dim=0)
