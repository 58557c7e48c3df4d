"""Starts Keras for a notebook: silence, seeds, threads, device.

The backend is TensorFlow, or PyTorch where the environment says ``KERAS_BACKEND=torch`` (a machine on which only
PyTorch sees the GPU). TensorFlow then merely feeds data through tf.data, where it is installed, and needs no device.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workbook.threads import available_threads


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: TensorFlow's native start-up lines heed no log level.

    What native code says while this is open is lost; Python's own exceptions are not.
    """
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


BACKENDS = ("tensorflow", "torch")
BACKEND = os.environ.setdefault("KERAS_BACKEND", BACKENDS[0])
if BACKEND not in BACKENDS:
    raise ValueError(f"KERAS_BACKEND={BACKEND!r}: the course runs Keras on one of {BACKENDS}; unset it for the first")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# POT imports TensorFlow when it is installed, unless told not to.
os.environ.setdefault("POT_BACKEND_DISABLE_TENSORFLOW", "1")


def _import_if_installed(name: str) -> Any:
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


with _silent_stderr():
    torch = None
    if BACKEND == "torch":
        torch = importlib.import_module("torch")
        # Loaded after TensorFlow, triton would abort the process.
        _import_if_installed("triton")
    tf = importlib.import_module("tensorflow") if torch is None else _import_if_installed("tensorflow")
    if tf is not None:
        # Devices are looked up, and complained about, on first use: let that happen here.
        tf.config.list_physical_devices("GPU")
        if torch is not None:
            tf.config.set_visible_devices([], "GPU")
        # A lesson that compiles several models is told so on stderr, once too often.
        tf.get_logger().setLevel("ERROR")
    import keras


def start(seed: int) -> None:
    """Seed Python, NumPy and the backend, and give both of Keras's libraries their share of the cores."""
    threads = available_threads()
    if torch is not None:
        torch.set_num_threads(threads)
    if tf is not None:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        except RuntimeError:
            # Threads are fixed once TensorFlow has run something; a second start in one kernel keeps them.
            pass
    with _silent_stderr():
        keras.utils.set_random_seed(seed)
        if tf is not None:
            tf.zeros(1)


def device() -> str:
    """Return ``"cuda"`` where the backend sees a GPU, else ``"cpu"``."""
    if torch is not None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda" if tf.config.list_physical_devices("GPU") else "cpu"


def device_name() -> str:
    """Return the device's name as its driver gives it, or ``"cpu"``."""
    if device() == "cpu":
        return "cpu"
    if torch is not None:
        return torch.cuda.get_device_name()
    return tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0]).get(
        "device_name", "GPU"
    )
