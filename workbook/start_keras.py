"""Starts Keras on TensorFlow for a notebook: silence, seeds, threads, device."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# POT imports TensorFlow when it is installed, unless told not to.
os.environ.setdefault("POT_BACKEND_DISABLE_TENSORFLOW", "1")
with _silent_stderr():
    import keras
    import tensorflow as tf

    # Devices are looked up, and complained about, on first use: let that happen here.
    tf.config.list_physical_devices("GPU")


def start(seed: int) -> None:
    """Seed Python, NumPy and TensorFlow and give TensorFlow its share of the cores."""
    threads = available_threads()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        # Threads are fixed once TensorFlow has run something; a second start in one kernel keeps them.
        pass
    with _silent_stderr():
        keras.utils.set_random_seed(seed)
        tf.zeros(1)


def device() -> str:
    """Return ``"cuda"`` where TensorFlow sees a GPU, else ``"cpu"``."""
    return "cuda" if tf.config.list_physical_devices("GPU") else "cpu"


def device_name() -> str:
    """Return the device's name as its driver gives it, or ``"cpu"``."""
    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "cpu"
