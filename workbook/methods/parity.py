"""Hands work to the other framework in a process of its own: PyTorch and TensorFlow do not share a kernel.

This module imports neither; the two that do are `workbook.methods.keras.parity_run` and its counterpart in ``torch``.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from workbook.paths import ROOT

MODULE = "workbook.methods.keras.parity_run"
TORCH_MODULE = "workbook.methods.torch.parity_run"


def run_keras(
    jobs: Mapping[str, Mapping], arrays: Mapping[str, np.ndarray], *, timeout: float = 600
) -> dict[str, dict[str, np.ndarray]]:
    """Run jobs of `workbook.methods.keras.parity_run` and return ``{job: {result: array}}``.

    Everything travels through npz files in a temporary folder; whatever TensorFlow says on the way stays there.

    Args:
        jobs: each ``{"kind": "logits", "train", "statistics" or "path", …}``; the rest are settings and names of
            arrays.
        arrays: what the jobs name.
        timeout: seconds to wait.

    Raises:
        RuntimeError: the process failed; the message ends with the last lines of its stderr.
        TimeoutError: it took too long.
    """
    return _run("Keras", MODULE, jobs, arrays, timeout)


def run_torch(
    jobs: Mapping[str, Mapping], arrays: Mapping[str, np.ndarray], *, timeout: float = 600
) -> dict[str, dict[str, np.ndarray]]:
    """Run jobs of `workbook.methods.torch.parity_run` and return ``{job: {result: array}}``: `run_keras`, turned round.

    Args:
        jobs: each ``{"kind": "distil", …}``; the rest are settings and names of arrays.
        arrays: what the jobs name.
        timeout: seconds to wait.

    Raises:
        RuntimeError: the process failed; the message ends with the last lines of its stderr.
        TimeoutError: it took too long.
    """
    return _run("PyTorch", TORCH_MODULE, jobs, arrays, timeout)


def _run(framework: str, module: str, jobs: Mapping, arrays: Mapping, timeout: float) -> dict[str, dict]:
    with tempfile.TemporaryDirectory() as folder:
        read, write = Path(folder) / "jobs.npz", Path(folder) / "results.npz"
        np.savez(read, jobs=json.dumps(jobs), **arrays)
        command = [sys.executable, "-m", module, str(read), str(write)]
        try:
            ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"the {framework} process took more than {timeout:g} s: give it fewer steps") from error
        if ended.returncode != 0 or not write.exists():
            tail = "\n".join(ended.stderr.strip().splitlines()[-8:]) or "(it said nothing)"
            raise RuntimeError(f"the {framework} process ended with status {ended.returncode}; its last words:\n{tail}")
        with np.load(write) as stored:
            results: dict[str, dict[str, np.ndarray]] = {name: {} for name in jobs}
            for key in stored.files:
                name, _, result = key.rpartition(".")
                results[name][result] = stored[key]
    return results


def do_jobs(
    read: Path,
    write: Path,
    kinds: Mapping[str, Callable[[Mapping[str, np.ndarray], Mapping], dict[str, np.ndarray]]],
    start: Callable[[int], None],
) -> None:
    """Do the jobs of one file and write the results, named ``job.result``, to another: the other process's side.

    Args:
        read, write: npz files.
        kinds: what does a job of a kind, called with all arrays and the job.
        start: starts the framework with a seed.

    Raises:
        KeyError: a job of an unknown kind, or one that names an array that is not there.
    """
    with np.load(read) as stored:
        arrays = dict(stored)
    start(0)
    results = {}
    for name, job in json.loads(str(arrays.pop("jobs"))).items():
        results |= {f"{name}.{key}": value for key, value in kinds[job["kind"]](arrays, job).items()}
    np.savez(write, **results)
