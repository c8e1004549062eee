"""E[√Y] of Poisson counts."""

import numpy as np
import pytest
from scipy.stats import poisson

from neuromodels.analysis.poisson import expected_root


@pytest.mark.parametrize("rate", [0.0, 1e-6, 0.05, 1.0, 12.5, 59.9, 60.1, 400.0])
def test_equals_the_sum_over_the_distribution(rate):
    counts = np.arange(2000)
    direct = np.sum(np.sqrt(counts) * poisson.pmf(counts, rate))
    assert expected_root(np.array(rate)) == pytest.approx(direct, abs=1e-6)


def test_nan_stays_nan_and_negative_rates_are_refused():
    assert np.isnan(expected_root(np.array([np.nan, 1.0]))[0])
    with pytest.raises(ValueError, match="negative"):
        expected_root(np.array([-1.0]))
