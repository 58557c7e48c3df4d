"""What the shipped weights must be worth: measured anew for the probes, read from the reference grid for training."""

import numpy as np
import pytest

from data_scripts.glyphnet_weights import WEIGHTS
from data_scripts.handwriting import load_handwriting
from data_scripts.photo_digits import load_photo_digits
from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.learning_curve import CANDIDATES, Bench
from workbook.reference import read_reference, record_values

# Lowest mean test accuracy of a linear probe over ten draws, by examples a class.
FLOORS = {load_handwriting: {1: 0.84, 5: 0.94}, load_photo_digits: {1: 0.72, 5: 0.88}}
PLAIN_PROBE = CANDIDATES["probe"][0]


@pytest.mark.parametrize("load", FLOORS, ids=lambda load: load.__name__)
def test_a_linear_probe_on_the_shipped_features_reaches_its_floor(load):
    bench = Bench(load(), load_glyphnet, steps=0)
    for k, floor in FLOORS[load].items():
        accuracies = [bench.run("probe", k, draw, PLAIN_PROBE) for draw in range(10)]
        assert np.mean(accuracies) >= floor, f"k={k}"


def test_fine_tuning_reached_its_floor_in_the_reference_grid():
    mean, _, _ = record_values(read_reference("01_concepts"), "reference", "01.handwriting")["fine-tuned", "k=10"]
    assert mean >= 0.965


def table_of_the_card() -> list[list[str]]:
    lines = (WEIGHTS.parent / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[entry.strip() for entry in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in rows if row[0] in ("handwriting", "photo_digits")]


@pytest.mark.parametrize("row", table_of_the_card(), ids=lambda row: "-".join(row[:3]))
def test_the_card_shows_what_the_reference_grid_holds(row):
    task, arm, weights, *shown = row
    label = {"linear probe": "linear probe on frozen features"}.get(arm, arm)
    job = {"glyphnet": "reference", "without lookalikes": "without-lookalikes"}[weights]
    known = record_values(read_reference("01_concepts"), job, f"01.{task}")
    assert shown == [f"{known[label, f'k={k}'][0]:.3f}".lstrip("0") for k in (1, 5, 10)]
