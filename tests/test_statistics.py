import numpy as np
import pytest
from scipy import stats

from workbook.statistics import Interval, mean_interval, paired_difference, wilson_interval

# Student's own example (1908, 'The probable error of a mean'): hours of sleep gained by ten patients with two drugs.
FIRST_DRUG = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND_DRUG = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
# R prints for t.test(second, first, paired = TRUE): 95 percent confidence interval 0.7001142 2.4598858.
GAIN = (1.58, 0.7001142, 2.4598858)


def test_the_interval_is_that_of_students_example():
    assert mean_interval(np.subtract(SECOND_DRUG, FIRST_DRUG)) == pytest.approx(GAIN, abs=1e-7)


def test_values_are_paired_before_they_are_averaged():
    assert paired_difference(SECOND_DRUG, FIRST_DRUG) == pytest.approx(GAIN, abs=1e-7)
    mean, low, high = paired_difference(FIRST_DRUG, SECOND_DRUG)
    assert (-mean, -high, -low) == pytest.approx(GAIN, abs=1e-7)


def test_the_order_of_the_pairs_matters():
    assert paired_difference(SECOND_DRUG, FIRST_DRUG[::-1]).low < 0 < paired_difference(SECOND_DRUG, FIRST_DRUG).low


def test_a_common_shift_of_both_draws_changes_nothing():
    shift = np.linspace(0, 100, 10)
    assert paired_difference(np.add(SECOND_DRUG, shift), np.add(FIRST_DRUG, shift)) == pytest.approx(GAIN, abs=1e-7)


def test_three_values_by_hand():
    # Mean 2, standard deviation 1, t = 4.302653 with 2 degrees of freedom: half width 4.302653 / √3.
    assert mean_interval([1, 2, 3]) == pytest.approx((2, 2 - 2.4841377, 2 + 2.4841377), abs=1e-6)


def test_less_confidence_is_a_narrower_interval():
    wide, narrow = mean_interval([1, 2, 3]), mean_interval([1, 2, 3], confidence=0.5)
    assert narrow == pytest.approx((2, 2 - 0.8164966 / np.sqrt(3), 2 + 0.8164966 / np.sqrt(3)), abs=1e-6)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_covers_the_true_mean_as_often_as_it_says(confidence):
    generator = np.random.default_rng(0)
    n, repetitions = 5, 4000
    samples = generator.normal(3.0, 2.0, size=(repetitions, n))
    intervals = [mean_interval(sample, confidence=confidence) for sample in samples]
    covered = np.mean([interval.low <= 3.0 <= interval.high for interval in intervals])
    # Four standard errors of a share; the normal quantile in place of Student's would cover far less.
    margin = 4 * np.sqrt(confidence * (1 - confidence) / repetitions)
    assert abs(covered - confidence) < margin
    half = stats.norm.ppf((1 + confidence) / 2) * samples.std(axis=1, ddof=1) / np.sqrt(n)
    assert np.mean(np.abs(samples.mean(axis=1) - 3.0) <= half) < confidence - margin


def test_a_single_value_has_no_interval():
    assert mean_interval([0.5]) == Interval(0.5, None, None)


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval([0.25] * 4) == Interval(0.25, 0.25, 0.25)


@pytest.mark.parametrize("values", [[], [0.5, float("nan")], [float("inf"), 1.0]])
def test_what_has_no_mean_is_refused(values):
    with pytest.raises(ValueError, match="expected at least one finite value, got"):
        mean_interval(values)


def test_pairs_need_the_same_number_of_draws():
    with pytest.raises(ValueError, match="the same draws: got 3 and 2"):
        paired_difference([1, 2, 3], [1, 2])


@pytest.mark.parametrize(("right", "of"), [(0, 10), (1, 10), (7, 12), (142, 153), (153, 153), (1, 1)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilsons_interval_is_scipys(right, of, confidence):
    share, low, high = wilson_interval(right, of, confidence=confidence)
    expected = stats.binomtest(right, of).proportion_ci(confidence, method="wilson")
    assert (share, low, high) == pytest.approx((right / of, expected.low, expected.high), abs=1e-12)


def test_wilsons_interval_by_hand():
    # 1 of 2 with z = 1: centre (1/2 + 1/4) / (3/2) = 1/2, half √(1/2 · (1/4 + 1/8)) / (3/2) = √3 / 6.
    confidence = stats.norm.cdf(1) - stats.norm.cdf(-1)
    half = np.sqrt(3) / 6
    assert wilson_interval(1, 2, confidence=confidence) == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=1e-12)


@pytest.mark.parametrize(("right", "of"), [(0, 0), (3, 2), (-1, 5)])
def test_impossible_counts_have_no_interval(right, of):
    with pytest.raises(ValueError, match="at least one trial, got right="):
        wilson_interval(right, of)
