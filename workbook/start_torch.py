"""Starts PyTorch for a notebook: seeds, threads, device."""

import os
import random

import numpy as np
import torch

from workbook.threads import available_threads


def start(seed: int) -> None:
    """Seed Python, NumPy and PyTorch and give PyTorch its share of the cores.

    Also keeps POT (`import ot`), and skada with it, from importing TensorFlow: one kernel holds one framework.
    """
    os.environ["POT_BACKEND_DISABLE_TENSORFLOW"] = "1"
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(available_threads())


def device() -> str:
    """Return ``"cuda"`` where PyTorch sees a CUDA device, else ``"cpu"``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_name() -> str:
    """Return the device's name as its driver gives it, or ``"cpu"``."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
