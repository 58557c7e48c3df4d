"""The reference grids that ship with the chapters: dated results of job files, in ``chapters/reference``."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from workbook.paths import CHAPTERS

FOLDER = CHAPTERS / "reference"


def read_reference(name: str) -> pd.DataFrame:
    """Return the rows of a shipped ``results.csv`` (columns as the runner writes them).

    Args:
        name: of the grid, such as ``"01_concepts"``.

    Raises:
        FileNotFoundError: no such grid; the message says how to make it.
    """
    path = FOLDER / f"{name}.csv"
    if not path.exists():
        raise FileNotFoundError(
            f"there is no reference grid {name!r} in chapters/reference; make it with "
            f"'python -m workbook run --jobs chapters/reference/{name}.yaml' and copy its results.csv to {path.name}"
        )
    return pd.read_csv(path)


def record_values(reference: pd.DataFrame, job: str, prefix: str) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Return ``{(row, column): (mean, low, high)}`` of a recorded table: records named ``prefix.row.column``.

    Raises:
        KeyError: the job recorded no such table; the message lists its jobs.
    """
    rows = reference[(reference.job == job) & reference.name.str.startswith(f"{prefix}.")]
    if rows.empty:
        raise KeyError(f"no records {prefix!r} of job {job!r}; the grid holds the jobs {sorted(set(reference.job))}")
    parts = [name.removeprefix(f"{prefix}.").split(".") for name in rows.name]
    numbers = rows[["value", "low", "high"]].itertuples(index=False)
    return {(row, column): tuple(n) for (row, column), n in zip(parts, numbers, strict=True)}


def bands(
    values: Mapping[tuple[str, str], tuple[float, float, float]], *, draws: int, ours: int, least: float = 0.01
) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the band in which a mean of ``ours`` new draws falls 99 times in 100.

    From a reference mean m of n draws with standard deviation s the band is m ± t · s · √(1/n + 1/ours), the
    prediction interval for a mean of normally distributed draws (t: Student's, n − 1 degrees of freedom).

    Args:
        values: as `record_values` returns them, with 95 % intervals.
        draws: n, the draws behind each reference mean.
        ours: draws behind the mean to be judged.
        least: the narrowest half-width: another machine rounds differently and trains to another last digit.
    """
    to_deviation = np.sqrt(draws) / stats.t.ppf(0.975, draws - 1)
    reach = stats.t.ppf(0.995, draws - 1) * np.sqrt(1 / draws + 1 / ours)
    found = {}
    for key, (mean, low, high) in values.items():
        half = max(least, reach * to_deviation * (high - low) / 2)
        found[key] = (max(0.0, mean - half), min(1.0, mean + half))
    return found
