"""Outputs of named layers of a frozen network, pooled, with the row numbers and labels that belong to them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models.feature_extraction import create_feature_extractor

from data_scripts.backbones_torch import Backbone, as_pictures
from workbook.methods.features import pool


class Extracted(NamedTuple):
    """Features that know which rows they belong to.

    Attributes:
        layers: ``{layer: (N, d)}``.
        rows: int64 ``(N,)``, the row numbers in the data set, rising.
        labels: int64 ``(N,)``, of the same rows.
    """

    layers: dict[str, np.ndarray]
    rows: np.ndarray
    labels: np.ndarray


def numbered(images: torch.Tensor, labels: torch.Tensor) -> TensorDataset:
    """Return a data set of ``(image, label, row number)``."""
    return TensorDataset(images, labels, torch.arange(len(images)))


@torch.inference_mode()
def extract_layers(
    network: nn.Module,
    layers: Sequence[str],
    batches: DataLoader | Iterable,
    *,
    how: str = "average",
) -> Extracted:
    """Run a network over batches, in evaluation mode, and return the pooled outputs of its named layers.

    Whatever order the batches came in, the result is in the order of row numbers, with the labels that came along.

    Args:
        network: any module that `torchvision.models.feature_extraction` can trace; it is left in evaluation mode.
        layers: names of nodes, such as ``"block3"``; each gives ``(n, C, H, W)``.
        batches: of ``(images, labels, rows)``, such as a loader of `numbered` makes; images go where the network is.
        how: one of `workbook.methods.features.POOLINGS`.

    Raises:
        ValueError: a layer gives no feature map (four dimensions), or a row came twice.
    """
    network.eval()
    device = next(network.parameters()).device
    extractor = create_feature_extractor(network, return_nodes=list(layers))
    parts: dict[str, list] = {layer: [] for layer in layers}
    rows, labels = [], []
    for images, batch_labels, batch_rows in batches:
        maps = extractor(images.to(device))
        for layer in layers:
            parts[layer].append(pool(maps[layer].float().cpu().numpy(), how, images=len(batch_rows)))
        rows.append(np.asarray(batch_rows))
        labels.append(np.asarray(batch_labels))
    numbers = np.concatenate(rows)
    order = np.argsort(numbers, kind="stable")
    if (np.diff(numbers[order]) == 0).any():
        raise ValueError("a row came twice: does the loader sample with replacement, or repeat the data set?")
    features = {layer: np.concatenate(part)[order] for layer, part in parts.items()}
    return Extracted(features, numbers[order], np.concatenate(labels)[order])


@torch.inference_mode()
def stage_features(
    backbone: Backbone, pictures: np.ndarray, *, batch: int = 32, device: str = "cpu"
) -> dict[tuple[str, str], np.ndarray]:
    """Run pictures through a backbone once and return what each of its stages says, pooled over places in two ways.

    Args:
        backbone: put in evaluation mode and moved to ``device``.
        pictures: uint8 ``(N, H, W, 3)``; turned into floats a batch at a time, so that they never lie in memory twice,
            and scaled to the backbone's size where they have another.
        batch: pictures at a time.
        device: where the network runs.

    Returns:
        ``{(stage, "average" or "max"): float32 (N, channels)}``, stages in order. A transformer's stages give tokens,
        which are pooled like places.

    Raises:
        ValueError: the pictures have another type or shape.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise ValueError(f"pictures of type {pictures.dtype} and shape {pictures.shape}: expected uint8 (N, H, W, 3)")
    backbone.to(device).eval()
    parts: dict[tuple[str, str], list[np.ndarray]] = {}
    for start in range(0, len(pictures), batch):
        floats = as_pictures(pictures[start : start + batch]).to(device)
        if floats.shape[-2:] != (backbone.size, backbone.size):
            floats = interpolate(floats, size=(backbone.size, backbone.size), mode="bilinear", antialias=True)
        maps = backbone.prepare(floats)
        for name, stage in backbone.stages.named_children():
            maps = stage(maps)
            places = maps.flatten(2) if maps.ndim == 4 else maps.transpose(1, 2)
            for how, pooled in (("average", places.mean(dim=2)), ("max", places.amax(dim=2))):
                parts.setdefault((name, how), []).append(pooled.float().cpu().numpy())
    return {key: np.concatenate(part) for key, part in parts.items()}
