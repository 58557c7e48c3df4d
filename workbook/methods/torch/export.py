"""A trained network as a file that runs without PyTorch: ONNX, 8-bit integers, sizes that count everything, latency."""

import logging
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn
from torch.export import Dim
from torch.utils.flop_counter import FlopCounterMode

INPUT, OUTPUT, BATCH = "images", "logits", "batch"
"""Names of the exported model's input, of its output and of the axis of free size."""


class Latency(NamedTuple):
    """Seconds a call: the median, and the quartiles between which half of the calls lie."""

    median: float
    low: float
    high: float


def multiply_adds(network: nn.Module, example: torch.Tensor) -> int:
    """Return the multiplications, each with its addition, that one image costs in convolutions and linear layers.

    A convolution of C_in to C_out channels with an h × w kernel and H × W outputs costs C_in · C_out · h · w · H · W.

    Args:
        network: maps ``example`` to outputs.
        example: a batch ``(n, …)``; the count is divided by n.
    """
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(example)
    return counter.get_total_flops() // 2 // len(example)


def export_onnx(network: nn.Module, path: Path | str, example: torch.Tensor, *, external_data: bool = False) -> Path:
    """Write the network as an ONNX model that takes batches of any size, and return the path.

    The exporter traces the network with `torch.export` and folds batch normalisation into the convolutions. What it
    notes about every operation, the folders of your source files among it, is taken out before the file is written.

    Args:
        network: in evaluation mode; maps ``example`` to one tensor of outputs.
        path: of the ``.onnx`` file; its folder exists.
        example: a batch of at least two inputs, whose values do not matter.
        external_data: write the weights to a second file beside it, ``<name>.onnx.data``, as PyTorch does by default.

    Raises:
        ValueError: the network is in training mode, or ``example`` is a batch of one.
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    if network.training:
        raise ValueError("the network is in training mode: its batch statistics would be exported; call eval() first")
    if len(example) < 2:
        raise ValueError(f"example is a batch of {len(example)}: sizes 0 and 1 are exported as constants; give it two")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path.name}: its folder {path.parent} does not exist; make it first")
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: Dim(BATCH)},),
    )
    model = program.model_proto
    _forget_origins(model)
    data = Path(f"{path}.data")
    data.unlink(missing_ok=True)  # onnx.save would append to it
    onnx.save(model, path, save_as_external_data=external_data, location=data.name)
    return path


def _forget_origins(model: onnx.ModelProto) -> None:
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def size_on_disk(path: Path | str) -> int:
    """Return the bytes of a model file, for ``.onnx`` together with every file of external data that it names.

    Raises:
        FileNotFoundError: the file, or one that it names, is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    files = {path}
    if path.suffix == ".onnx":
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            places = [entry.value for entry in tensor.external_data if entry.key == "location"]
            files |= {path.parent / place for place in places}
    missing = sorted(file.name for file in files if not file.is_file())
    if missing:
        raise FileNotFoundError(f"{path.name} keeps weights in {', '.join(missing)}, which is not beside it: move both")
    return sum(file.stat().st_size for file in files)


def open_session(path: Path | str, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open an ONNX model on the CPU with a fixed number of threads.

    Left alone, ONNX Runtime takes all cores, whatever PyTorch was told. On processors that multiply 8-bit integers
    with an instruction that saturates (x86 without VNNI), weights are moved to uint8, which is exact.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_session(session: onnxruntime.InferenceSession, images: np.ndarray | torch.Tensor, batch: int = 256):
    """Return the outputs ``(n, classes)`` of images ``(n, …)``, as a float32 array, computed batch by batch."""
    images, name = np.asarray(images, dtype=np.float32), session.get_inputs()[0].name
    parts = [session.run(None, {name: images[i : i + batch]})[0] for i in range(0, len(images), batch)]
    return np.concatenate(parts)


class _Batches(quantization.CalibrationDataReader):
    def __init__(self, name: str, images: np.ndarray, batch: int = 64):
        self._batches = iter([{name: images[i : i + batch]} for i in range(0, len(images), batch)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def quantise(
    path: Path | str, calibration_images: np.ndarray | torch.Tensor, out: Path | str, *, per_channel: bool = True
) -> Path:
    """Write an int8 copy of an ONNX model and return its path: static quantisation in the QDQ form.

    Weights become int8 with one scale for every output channel and zero point 0, activations uint8 with one scale and
    zero point a tensor, x ≈ s (q − z) (Jacob et al. 2018). The activations' ranges are the smallest and the largest
    value that the calibration images produce.

    Args:
        path: of a float32 model, as `export_onnx` writes it.
        calibration_images: ``(n, …)``, like the inputs that the model will meet: training rows, never test rows.
        out: where to write.
        per_channel: one scale for every output channel of a weight, not one for all of them.

    Raises:
        FileNotFoundError: there is no model at ``path``.
        ValueError: there are no calibration images, or their shape is not the model's.
    """
    path, out = Path(path), Path(out)
    size_on_disk(path)
    images = np.asarray(calibration_images, dtype=np.float32)
    wanted = open_session(path).get_inputs()[0]
    if not len(images) or list(images.shape[1:]) != wanted.shape[1:]:
        raise ValueError(
            f"calibration images have shape {images.shape}: expected at least one of shape {tuple(wanted.shape[1:])}"
        )
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            out,
            _Batches(wanted.name, images),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    model = onnx.load(out)
    _forget_origins(model)
    onnx.save(model, out)
    return out


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice, which it gives through the root logger, out of a notebook."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def median_latency(call: Callable[[], object], *, repeats: int = 50, warm_up: int = 10) -> Latency:
    """Return the median and the quartiles of the time that a call takes.

    The first calls allocate memory and fill caches, so some are made before the clock runs. Times have a long tail:
    whatever else the machine does adds to some calls and takes from none. That moves a mean, and hardly a median.

    Args:
        call: what is timed; on a GPU it has to wait for its own result.
        repeats: timed calls, at least 5.
        warm_up: calls before them.

    Raises:
        ValueError: fewer than five repeats.
    """
    return median_latencies({"call": call}, repeats=repeats, warm_up=warm_up)["call"]


def median_latencies(
    calls: Mapping[str, Callable[[], object]], *, repeats: int = 50, warm_up: int = 10
) -> dict[str, Latency]:
    """Return `median_latency` of several calls that take turns: what slows the machine for a while slows them all.

    Each turn has its own order: what one call leaves in the caches is not always met by the same other one.

    Args:
        calls: by name.
        repeats: timed calls of each, at least 5.
        warm_up: calls of each before the clock runs.

    Raises:
        ValueError: fewer than five repeats.
    """
    if repeats < 5:
        raise ValueError(f"repeats={repeats}: quartiles need at least 5 timed calls")
    times: dict[str, list[float]] = {name: [] for name in calls}
    order = random.Random(0)
    for turn in range(warm_up + repeats):
        for name in order.sample(list(calls), len(calls)):
            call = calls[name]
            begun = time.perf_counter()
            call()
            ended = time.perf_counter()
            if turn >= warm_up:
                times[name].append(ended - begun)
    quartiles = {name: np.quantile(values, (0.25, 0.5, 0.75)) for name, values in times.items()}
    return {name: Latency(float(median), float(low), float(high)) for name, (low, median, high) in quartiles.items()}
