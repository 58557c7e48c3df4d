"""The PyTorch half of a parity check, in a process of its own: ``python -m workbook.methods.torch.parity_run IN OUT``.

It reads and writes the files that `workbook.methods.keras.parity_run` describes; `workbook.methods.parity.run_torch`
starts it, from a lesson whose kernel holds Keras.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.pretrained_torch import load_glyphnet
from workbook import start_torch
from workbook.methods.parity import do_jobs
from workbook.methods.torch.distillation import kd_loss, predict_logits
from workbook.methods.torch.training import as_images

Arrays = Mapping[str, np.ndarray]


def tensors_of(arrays: Arrays, name: str) -> dict[str, torch.Tensor]:
    """Return the arrays called ``name.…`` as tensors, without that beginning."""
    return {
        key.removeprefix(f"{name}."): torch.from_numpy(value.copy())
        for key, value in arrays.items()
        if key.startswith(f"{name}.")
    }


def student(arrays: Arrays, name: str) -> GlyphNet:
    """Return a GlyphNet with the weights ``name.…``, whose shapes give widths and classes."""
    tensors = tensors_of(arrays, name)
    widths = tuple(len(tensors[f"{layer}.weight"]) for layer in ("stem", "block2.conv1", "block3.conv1"))
    network = GlyphNet(len(tensors["head.bias"]), widths)
    network.load_state_dict(tensors, strict=False)  # the count of batches is not among them
    return network.to(memory_format=torch.channels_last)


def distil_job(arrays: Arrays, job: Mapping) -> dict[str, np.ndarray]:
    """Distil every student from the teacher beside it on the batches ``(steps, batch)`` of the order beside it.

    The teacher is the pre-trained GlyphNet, frozen, with the head of that name. AdamW at a constant rate.

    Args:
        arrays: what the job names.
        job: ``students``, ``heads`` and ``orders``, lists of names; ``images``, ``labels`` and ``test``, names;
            ``temperature``, ``alpha``, ``learning_rate`` and ``weight_decay``.

    Returns:
        ``losses`` (runs, steps), and ``logits`` (runs, n, classes) of ``job["test"]``.
    """
    images, labels = as_images(arrays[job["images"]]), torch.from_numpy(arrays[job["labels"]])
    test, teacher = as_images(arrays[job["test"]]), load_glyphnet()
    runs: dict[str, list] = {"losses": [], "logits": []}
    for name, head, order in zip(job["students"], job["heads"], job["orders"], strict=True):
        network, answers = student(arrays, name).train(), tensors_of(arrays, head)
        teacher.head = nn.Linear(teacher.head.in_features, len(answers["bias"]))
        teacher.head.load_state_dict(answers)
        rule = torch.optim.AdamW(network.parameters(), lr=job["learning_rate"], weight_decay=job["weight_decay"])
        losses = []
        for rows in arrays[order]:
            with torch.no_grad():
                soft = teacher.eval()(images[rows])
            loss = kd_loss(network(images[rows]), soft, labels[rows], job["temperature"], job["alpha"])
            rule.zero_grad()
            loss.backward()
            rule.step()
            losses.append(loss.item())
        runs["losses"].append(losses)
        runs["logits"].append(predict_logits(network, test).numpy())
    return {name: np.array(values) for name, values in runs.items()}


JOBS: dict[str, Callable[[Arrays, Mapping], dict[str, np.ndarray]]] = {"distil": distil_job}


if __name__ == "__main__":
    do_jobs(Path(sys.argv[1]), Path(sys.argv[2]), JOBS, start_torch.start)
