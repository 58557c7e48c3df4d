"""Reading shipped grids, and the bands that are computed from them."""

import numpy as np
import pandas as pd
import pytest

from workbook.paths import CHAPTERS
from workbook.reference import bands, read_reference, record_values
from workbook.runner.jobfile import read_job_file


@pytest.fixture
def grid() -> pd.DataFrame:
    rows = [("a", "record", "01.t.probe.k=1", 0.8, 0.7, 0.9), ("b", "record", "01.t.probe.k=1", 0.5, 0.4, 0.6)]
    return pd.DataFrame(rows, columns=["job", "kind", "name", "value", "low", "high"])


def test_a_table_is_found_by_job_and_name(grid):
    assert record_values(grid, "a", "01.t") == {("probe", "k=1"): (0.8, 0.7, 0.9)}


def test_an_unknown_job_is_named_with_those_there_are(grid):
    with pytest.raises(KeyError, match=r"'c'.*'a', 'b'"):
        record_values(grid, "c", "01.t")


def test_a_missing_grid_says_how_to_make_it():
    with pytest.raises(FileNotFoundError, match=r"run --jobs chapters/reference/99_none.yaml"):
        read_reference("99_none")


def test_a_band_holds_new_means_as_often_as_it_says():
    generator = np.random.default_rng(0)
    inside = []
    for _ in range(3000):
        old, new = generator.normal(0.5, 0.05, 12), generator.normal(0.5, 0.05, 3)
        half = 2.200985 * old.std(ddof=1) / np.sqrt(12)  # Student's 97.5 % quantile, 11 degrees of freedom
        band = bands({("r", "c"): (old.mean(), old.mean() - half, old.mean() + half)}, draws=12, ours=3, least=0.0)
        low, high = band["r", "c"]
        inside.append(low <= new.mean() <= high)
    assert 0.983 < np.mean(inside) < 0.996


def test_a_band_is_never_narrower_than_rounding_needs_nor_wider_than_a_share():
    assert bands({("r", "c"): (0.995, 0.995, 0.995)}, draws=12, ours=3) == {("r", "c"): (0.985, 1.0)}


@pytest.mark.parametrize("job_file", sorted((CHAPTERS / "reference").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_job_file_has_its_results_and_names_the_same_jobs(job_file):
    named = {request.name for request in read_job_file(job_file).requests}
    results = read_reference(job_file.stem)
    assert set(results.job) == named
    assert set(results.status) == {"ok"}
