"""The weights file that ships with the course, read without any framework."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

WEIGHTS = Path(__file__).resolve().parent / "weights" / "glyphnet.safetensors"


def read_weights(path: Path = WEIGHTS) -> dict[str, np.ndarray]:
    """Return every tensor of a GlyphNet file by its PyTorch name, as float32 arrays.

    Raises:
        FileNotFoundError: no such file; the message says how to make one.
        ValueError: the file is damaged, or holds something else.
    """
    with _opened(path) as stored:
        return {name: stored.get_tensor(name) for name in stored.keys() if "num_batches" not in name}  # noqa: SIM118


def read_letters(path: Path = WEIGHTS) -> tuple[str, ...]:
    """Return the letters that the source head distinguishes, in the order of its outputs.

    Raises:
        FileNotFoundError, ValueError: as `read_weights`.
    """
    with _opened(path) as stored:
        return tuple(json.loads(stored.metadata()["letters"]))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    remedy = (
        "restore it with 'git checkout -- data_scripts/weights', or train it again with "
        "'python -m data_scripts.pretrain_glyphnet'"
    )
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: {remedy}")
    try:
        with safe_open(path, framework="numpy") as stored:
            if not {"stem.weight", "head.bias"} <= set(stored.keys()) or "letters" not in (stored.metadata() or {}):
                raise ValueError(f"{path} does not hold a GlyphNet with its letters: {remedy}")
            yield stored
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): {remedy}") from error
