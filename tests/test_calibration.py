import numpy as np
import pytest

from workbook.calibration import expected_calibration_error


def test_a_coin_that_is_called_fairly_has_no_error():
    probabilities = np.tile([0.75, 0.25], (4, 1))
    assert expected_calibration_error(probabilities, [0, 0, 0, 1]) == pytest.approx(0)


def test_certainty_that_is_wrong_half_of_the_time_costs_a_half():
    probabilities = np.tile([1.0, 0.0], (10, 1))
    assert expected_calibration_error(probabilities, [0, 1] * 5) == pytest.approx(0.5)


def test_overconfidence_and_underconfidence_in_different_bins_do_not_cancel():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4]])
    assert expected_calibration_error(probabilities, [1, 0]) == pytest.approx((0.9 + 0.4) / 2)


def test_logits_are_refused():
    with pytest.raises(ValueError, match="softmax"):
        expected_calibration_error(np.array([[3.0, -1.0]]), [0])
