from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from workbook.methods.torch.adaptation_table import (
    CANDIDATES,
    CRITERIA,
    DEFAULTS,
    FROZEN,
    METHODS,
    MOST_WEIGHT,
    PROBE_C,
    SETTINGS,
    SOURCE_FREE,
    AdaptationBench,
)
from workbook.methods.torch.deep_alignment import start_network
from workbook.methods.torch.domains import load_pair


@pytest.fixture(scope="module")
def bench():
    pair = load_pair("printed to handwriting")
    pair = replace(pair, target_images=pair.target_images[:200])
    return AdaptationBench(pair, 0, {"fine-tuned": (start_network("letters", seed=0), 2.0)})


def test_candidates_have_names_of_their_own_that_a_record_can_carry():
    assert len(CANDIDATES) == sum(len(settings) for settings in SETTINGS.values())
    assert not any("." in name for name in CANDIDATES)
    assert all(CANDIDATES[method] == (method, {}) for method in METHODS)
    assert {*FROZEN, *SOURCE_FREE, *DEFAULTS} <= set(METHODS)


def test_the_frozen_probe_is_a_logistic_regression_on_the_features(bench):
    outcome = bench.run("frozen probe", {})
    features, pair = bench.features, bench.pair
    probe = LogisticRegression(C=PROBE_C, max_iter=1000).fit(features["train"], pair.source_labels.numpy())
    assert bench.accuracy(outcome) == probe.score(features["test"], pair.target_test_labels.numpy())
    assert bench.accuracy(outcome, "validation") == bench.scores(outcome)["labels"]
    np.testing.assert_allclose(np.linalg.norm(features["target"], axis=1), 1, rtol=1e-5)


def test_scores_are_finite_and_named(bench):
    for method in ("pixels", "CORAL", "optimal transport"):
        outcome = bench.run(method, {})
        scores = bench.scores(outcome)
        assert tuple(scores) == CRITERIA
        assert np.isfinite(list(scores.values())).all()
        assert outcome.target.shape == (200, 10)
        assert outcome.test.shape == (len(bench.pair.target_test_labels), 10)
        assert (outcome.ratio >= 0).all()
        assert outcome.ratio.max() <= MOST_WEIGHT


@pytest.mark.parametrize(
    ("method", "setting"), [("AdaBN", {}), ("TENT", {"batch": 100}), ("SHOT", {"epochs": 1}), ("DAN", {"steps": 2})]
)
def test_networks_adapt_without_target_labels_and_leave_their_start(bench, method, setting):
    start = {name: value.clone() for name, value in bench.start("fine-tuned")[0].state_dict().items()}
    outcome = bench.run(method, setting)
    blind = replace(
        bench.pair,
        target_test_labels=torch.zeros_like(bench.pair.target_test_labels),
        target_validation_labels=torch.zeros_like(bench.pair.target_validation_labels),
    )
    again = AdaptationBench(blind, 0, {"fine-tuned": (bench.start("fine-tuned")[0], 2.0)}).run(method, setting)
    np.testing.assert_allclose(again.test, outcome.test, atol=1e-4)
    assert all(torch.equal(value, start[name]) for name, value in bench.start("fine-tuned")[0].state_dict().items())
    assert (outcome.seconds > 2.0) == (method in SOURCE_FREE)


def test_mistakes_are_named(bench):
    with pytest.raises(ValueError, match=r"'MCD' is unknown.*'DANN'"):
        bench.run("MCD", {})
    with pytest.raises(ValueError, match="'scratch' is unknown; expected 'fine-tuned' or 'head only'"):
        bench.run("TENT", {"start": "scratch"})
