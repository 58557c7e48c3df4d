"""What a notebook calls: `begin`, `claim`, `record`, `record_table`, `device` and `gpu`.

A claim is a conclusion that the notebook has just computed; a record is a measured number with its interval and the
band in which a learner should see it. Both leave a MIME bundle in the notebook (see `workbook.bundles`) that the
tests compare and that the runner reads back.
"""

import importlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from IPython.display import display

from workbook.bundles import CLAIM_MIME, RECORD_MIME
from workbook.plotting import use_course_style
from workbook.profiles import check_profile
from workbook.statistics import mean_interval
from workbook.threads import keep_blas_to_one_thread

CONFIDENCE = 0.95
_STARTERS = {"torch": "workbook.start_torch", "keras": "workbook.start_keras"}


@dataclass
class _Session:
    """What `begin` settled for the notebook in this kernel."""

    starter: Any = None
    in_scope: bool = True
    claimed: dict[str, str] = field(default_factory=dict)


_session = _Session()


def begin(framework: str | None = None, *, profile: str = "quick", seed: int = 0, scope: bool = True) -> None:
    """Start a notebook: framework (quietly), seeds, threads and plotting defaults.

    Args:
        framework: ``"torch"``, ``"keras"`` or None. One kernel holds one framework.
        profile: one of `workbook.profiles.PROFILES`.
        seed: of Python, NumPy and the framework.
        scope: whether this run is one that the notebook's claims speak of (its default parameters). Outside, a
            claim that fails is recorded and the run goes on.

    Raises:
        ValueError: an unknown profile or framework; the message lists the choices.
        RuntimeError: this kernel already holds the other framework.
    """
    check_profile(profile)
    if framework is not None and framework not in _STARTERS:
        raise ValueError(f"unknown framework {framework!r}: expected one of {sorted(_STARTERS)} or None")
    if framework and _session.starter and _session.starter.__name__ != _STARTERS[framework]:
        raise RuntimeError(f"this kernel already runs another framework; restart it to begin with {framework!r}")
    use_course_style()
    if framework:
        _session.starter = importlib.import_module(_STARTERS[framework])
        _session.starter.start(seed)
    else:
        random.seed(seed)
        np.random.seed(seed)
    keep_blas_to_one_thread()
    _session.in_scope = bool(scope)
    _session.claimed.clear()


def claim(id: str, statement: str, holds: bool, *, scope: bool | None = None) -> None:
    """State a conclusion, with the verdict that this run's numbers give it.

    Prints one line and stores it in the notebook. The statement holds no measured digit: it is compared to the letter
    when the notebook is checked, on another machine.

    Args:
        id: chapter number, a point and a name: ``"01.probe-wins-at-one-shot"``; unique in the notebook. A cell that
            a learner runs again may make its claim again.
        statement: the conclusion, in words.
        holds: the computed verdict, a Python or NumPy boolean.
        scope: overrides the notebook's scope (see `begin`) for this claim.

    Raises:
        TypeError: ``holds`` is not a boolean: a claim rests on a comparison, not on a number that happens to be true.
        ValueError: the id already stands for another statement in this run.
        AssertionError: the claim is in scope and false.
    """
    if not isinstance(holds, bool | np.bool_):
        raise TypeError(f"claim {id!r}: holds is {type(holds).__name__}, expected a boolean (write the comparison out)")
    if _session.claimed.setdefault(id, statement) != statement:
        raise ValueError(
            f"claim {id!r} already states {_session.claimed[id]!r} in this notebook: give this one an id of its own"
        )
    in_scope = _session.in_scope if scope is None else bool(scope)
    verdict = "holds" if holds else "does not hold"
    line = f"Claim {id} · {statement} · {verdict}" + ("" if in_scope else " (out of scope)")
    bundle = {"id": id, "statement": statement, "holds": bool(holds), "in_scope": in_scope}
    display({"text/plain": line, CLAIM_MIME: bundle}, raw=True)
    if in_scope and not holds:
        raise AssertionError(f"claim {id} does not hold: {statement}")


def _measure(name: str, values: Sequence[float] | float, expected: tuple[float, float] | None, unit: str) -> dict:
    numbers = np.atleast_1d(np.asarray(values, dtype=float)).ravel()
    try:
        interval = mean_interval(numbers, confidence=CONFIDENCE)
    except ValueError as error:
        raise ValueError(f"record {name!r}: {error}") from error
    return {
        "name": name,
        "values": [float(v) for v in numbers],
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "confidence": CONFIDENCE,
        "expected": list(map(float, expected)) if expected else None,
        "unit": unit,
        "device": _session.starter.device_name() if _session.starter else "cpu",
    }


def _shown(measured: Mapping, digits: int) -> str:
    unit = f" {measured['unit']}" if measured["unit"] else ""
    if measured["low"] is None:
        return f"{measured['mean']:.{digits}f}{unit}"
    return f"{measured['mean']:.{digits}f} ± {measured['high'] - measured['mean']:.{digits}f}{unit}"


def _band(measured: Mapping, digits: int) -> str:
    if not measured["expected"]:
        return ""
    low, high = measured["expected"]
    inside = "inside" if low <= measured["mean"] <= high else "**outside**"
    return f"{inside} {low:.{digits}f} to {high:.{digits}f}"


def record(
    name: str,
    values: Sequence[float] | float,
    *,
    expected: tuple[float, float] | None = None,
    unit: str = "",
    digits: int = 3,
) -> None:
    """Show a measured number: mean ± half its 95 % interval over the values, and the band to expect.

    Args:
        name: chapter number, a point and a name, such as ``"01.handwriting.probe.k1"``.
        values: one number a draw or seed, or a single number (shown without an interval).
        expected: lowest and highest mean a learner should see; a mean outside is pointed out, and nothing more.
        unit: such as ``"s"`` or ``"images/s"``; empty for shares.
        digits: after the point.

    Raises:
        ValueError: there is no value, or one that is not finite.
    """
    measured = _measure(name, values, expected, unit)
    count = len(measured["values"])
    note = f" ({CONFIDENCE:.0%} interval, {count} values)" if count > 1 else ""
    band = _band(measured, digits)
    line = f"**{name}**: {_shown(measured, digits)}{note}" + (f" · {band}" if band else "")
    display({"text/plain": f"Record {name}", "text/markdown": line, RECORD_MIME: measured}, raw=True)


def record_table(
    name: str,
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    expected: Mapping[tuple[str, str], tuple[float, float]] | None = None,
    corner: str = "",
    unit: str = "",
    digits: int = 3,
) -> None:
    """Show a table of measured numbers, each with its interval; every entry is a record ``name.row.column``.

    Args:
        name: of the table, such as ``"01.handwriting"``.
        rows: ``{row: {column: values}}``; a missing column leaves its entry empty.
        expected: bands by ``(row, column)``; an entry outside its band is marked.
        corner: heading of the first column.
        unit, digits: as in `record`.

    Raises:
        ValueError: there is no value at all, or one that is not finite; the message names the entry.
    """
    bands = expected or {}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [f"| {corner} | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    measured_rows = []
    for row, by_column in rows.items():
        entries = []
        for column in columns:
            if column not in by_column:
                entries.append("")
                continue
            measured = _measure(f"{name}.{row}.{column}", by_column[column], bands.get((row, column)), unit)
            outside = "**outside**" in _band(measured, digits)
            entries.append(_shown(measured, digits) + (" (outside its band)" if outside else ""))
            measured_rows.append(measured)
        lines.append(f"| {row} | " + " | ".join(entries) + " |")
    if not measured_rows:
        raise ValueError(f"record table {name!r}: expected at least one row with values, got none")
    counts = {len(m["values"]) for m in measured_rows}
    if counts != {1}:
        number = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
        lines += ["", f"Mean ± half the {CONFIDENCE:.0%} interval over {number} values."]
    bundle = {"name": name, "records": measured_rows}
    display({"text/plain": f"Record {name}", "text/markdown": "\n".join(lines), RECORD_MIME: bundle}, raw=True)


def device() -> str:
    """Return ``"cuda"`` or ``"cpu"``: where the framework that `begin` started would run.

    Raises:
        RuntimeError: no framework was started.
    """
    if _session.starter is None:
        raise RuntimeError('no framework was started: call begin("torch") or begin("keras") first')
    return _session.starter.device()


@dataclass(frozen=True)
class GpuSection:
    """Where and at which size the GPU cells run; false when they are skipped."""

    device: str | None
    token: bool

    def __bool__(self) -> bool:
        return self.device is not None

    def size(self, full: Any, token: Any) -> Any:
        """Return ``full`` on a device and ``token`` when the cells run on the CPU just to be run."""
        return token if self.token else full


def gpu(*, on_cpu: bool = False) -> GpuSection:
    """Decide about a chapter's GPU cells, and say so in one line.

    Args:
        on_cpu: without a device, run the cells on the CPU at a token size (continuous integration does).
    """
    if device() == "cuda":
        print(f"Running the GPU section on {_session.starter.device_name()}.")
        return GpuSection("cuda", token=False)
    if on_cpu:
        print("No CUDA device: running the GPU section on the CPU at a token size.")
        return GpuSection("cpu", token=True)
    print("No CUDA device: the GPU section is skipped (set gpu_on_cpu = True to run it at a token size).")
    return GpuSection(None, token=False)
