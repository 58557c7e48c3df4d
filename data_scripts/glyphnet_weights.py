"""The weights file that ships with the course, read without any framework."""

import json
from pathlib import Path

import numpy as np
from safetensors import safe_open

WEIGHTS = Path(__file__).resolve().parent / "weights" / "glyphnet.safetensors"


def read_weights(path: Path = WEIGHTS) -> dict[str, np.ndarray]:
    """Return every tensor of a GlyphNet file by its PyTorch name, as float32 arrays.

    Raises:
        FileNotFoundError: no such file; the message says how to make one.
    """
    _require(path)
    with safe_open(path, framework="numpy") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys() if "num_batches" not in name}  # noqa: SIM118


def read_letters(path: Path = WEIGHTS) -> tuple[str, ...]:
    """Return the letters that the source head distinguishes, in the order of its outputs."""
    _require(path)
    with safe_open(path, framework="numpy") as stored:
        return tuple(json.loads(stored.metadata()["letters"]))


def _require(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: restore it with 'git checkout -- data_scripts/weights', or train it again with "
            "'python -m data_scripts.pretrain_glyphnet'"
        )
