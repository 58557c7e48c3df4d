"""Networks on photographs: ``uint8`` pictures through a module batch by batch, and a classifier kept in one file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from data_scripts.backbones_torch import Classifier, load_backbone

FORMAT = "workbook classifier of pictures 1"


def floats(batch: torch.Tensor, device: str = "cpu") -> torch.Tensor:
    """Bring a batch to a device: ``uint8`` pictures ``(n, 3, H, W)`` as floats in [0, 1], maps as they are."""
    batch = batch.to(device)
    return batch.float() / 255 if batch.dtype == torch.uint8 else batch


def through(module: nn.Module, inputs: torch.Tensor, *, device: str = "cpu", batch: int = 32) -> torch.Tensor:
    """Run a module over pictures or maps, in evaluation mode and without gradients; the result is on the CPU.

    Args:
        module: left on ``device`` and in evaluation mode.
        inputs: ``uint8`` pictures ``(N, 3, H, W)``, which become floats batch by batch, or float maps ``(N, …)``.
        device: where to compute.
        batch: inputs at a time.

    Returns:
        ``(N, …)``, an ordinary tensor on which later layers can be trained.
    """
    module.to(device).eval()
    with torch.inference_mode():
        parts = [module(floats(part, device)).cpu() for part in inputs.split(batch)]
    return torch.cat(parts)  # out here: what inference mode makes cannot be trained on


def save_classifier(path: Path | str, network: Classifier, class_names: Sequence[str]) -> None:
    """Write a classifier as safetensors, with what a stranger needs as metadata: classes, backbone, picture size.

    Raises:
        ValueError: the head has another number of outputs than there are names.
    """
    if network.head.out_features != len(class_names):
        raise ValueError(f"{network.head.out_features} outputs and {len(class_names)} class names")
    about = {
        "format": FORMAT,
        "class_names": list(class_names),
        "backbone": network.backbone.name,
        "size": network.backbone.size,
        "input": "red, green, blue in [0, 1]; the network itself normalises",
    }
    tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, metadata={name: json.dumps(value) for name, value in about.items()})


def load_classifier(path: Path | str) -> tuple[Classifier, dict[str, Any]]:
    """Return the classifier of a file that `save_classifier` wrote, in evaluation mode, and the file's metadata.

    Nothing is downloaded, and the file runs no code. PyTorch's global random numbers are left as they were.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or was written by something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no model {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = {name: json.loads(text) for name, text in (file.metadata() or {}).items()}
        tensors = load_file(path)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no whole classifier of pictures ({type(error).__name__})") from error
    if about.get("format") != FORMAT:
        raise ValueError(
            f"{path} is no classifier of pictures: expected format {FORMAT!r}, got {about.get('format')!r}"
        )
    with torch.random.fork_rng(devices=[]):
        network = Classifier(load_backbone(about["backbone"], pretrained=False), len(about["class_names"]))
    network.load_state_dict(tensors)
    return network.eval(), about
