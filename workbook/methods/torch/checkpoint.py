"""Checkpoints from which an interrupted training goes on to the identical result."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from workbook.methods.torch.policies import train_mode
from workbook.methods.torch.training import next_rows, random_shift

FORMAT = "workbook training state 1"


@dataclass
class TrainingState:
    """Everything that the next step of a training depends on.

    Attributes:
        network: its parameters and buffers are stored. What is frozen is not: build the network as for a fresh start.
        optimiser: with its memory (momentum, second moments) and the current rates.
        schedule: of the learning rate.
        generator: the CPU generator of *all* random numbers of the training: order and augmentation.
        order: int64, the rows that are left of the current pass.
        step: steps made so far.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    order: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    step: int = 0


def save_checkpoint(path: Path | str, state: TrainingState) -> None:
    """Write the state so that ``path`` is at every moment either the old checkpoint or the whole new one.

    The file is written under another name in the same folder, flushed to the disk, and then moved into place.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path.name}: its folder {path.parent} does not exist; make it first")
    stored = {
        "format": FORMAT,
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "schedule": state.schedule.state_dict(),
        "generator": state.generator.get_state(),
        "order": state.order.clone(),
        "step": state.step,
    }
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            torch.save(stored, file)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def load_checkpoint(path: Path | str, state: TrainingState) -> TrainingState:
    """Put a stored state into objects that were built as for a fresh start, and return them.

    Only tensors and plain values are read (``weights_only=True``): a checkpoint from elsewhere runs no code. The
    network is compared with the file first, so a checkpoint of another network changes nothing.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, holds something else, or belongs to another network or optimiser.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}: start from step 0, or check the path")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} is not a whole checkpoint ({type(error).__name__}): delete it and start again"
        ) from error
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise ValueError(f"{path} holds no training state of this version: expected format {FORMAT!r}")
    _compare(path, state, stored)
    state.network.load_state_dict(stored["network"])
    state.optimiser.load_state_dict(stored["optimiser"])
    state.schedule.load_state_dict(stored["schedule"])
    state.generator.set_state(stored["generator"])
    state.order, state.step = stored["order"], stored["step"]
    return state


def _compare(path: Path, state: TrainingState, stored: dict) -> None:
    """Raise ValueError when the stored tensors do not fit the objects that are to receive them."""
    have = {name: tuple(value.shape) for name, value in state.network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in stored["network"].items()}
    wrong = sorted(name for name in have.keys() | found.keys() if have.get(name) != found.get(name))
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{path} belongs to another network: {len(wrong)} entries differ, such as {first!r} "
            f"(expected {have.get(first, 'none')}, found {found.get(first, 'none')})"
        )
    sizes = [len(group["params"]) for group in state.optimiser.state_dict()["param_groups"]]
    theirs = [len(group["params"]) for group in stored["optimiser"]["param_groups"]]
    if sizes != theirs:
        raise ValueError(f"{path} belongs to another optimiser: expected groups of {sizes} parameters, found {theirs}")


def train_from(
    state: TrainingState,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    steps: int,
    batch: int = 32,
    shift: int = 2,
    after_step: Callable[[TrainingState], None] | None = None,
) -> TrainingState:
    """Train from ``state.step`` to step ``steps`` as `workbook.methods.torch.training.fit` does; return the state.

    Args:
        state: a fresh one, or one that `load_checkpoint` filled; changed in place.
        images: ``(n, 1, 32, 32)``.
        labels: int64 ``(n,)``.
        steps: of the whole training, those made so far included.
        batch, shift: as in `fit`.
        after_step: called after every step, to save checkpoints or to report.
    """
    train_mode(state.network)
    while state.step < steps:
        rows, state.order = next_rows(state.order, len(images), batch, state.generator)
        logits = state.network(random_shift(images[rows], shift, state.generator))
        loss = F.cross_entropy(logits, labels[rows])
        state.optimiser.zero_grad()
        loss.backward()
        state.optimiser.step()
        state.schedule.step()
        state.step += 1
        if after_step is not None:
            after_step(state)
    return state
