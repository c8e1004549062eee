"""What differs from trial to trial: shared gain, drift, and the noise of the counts.

Everything here is a pure function of its arguments and of a generator, so that
any simulation (the retina's, or one of a ceiling alone) can be built from it.
"""

import numpy as np

from neuromodels.datasets.arguments import one_of
from neuromodels.datasets.errors import InputError

NOISES = ("poisson", "binomial")


def shared_gain(
    n_trials: int,
    n_bins: int,
    bin_width: float,
    sd: float,
    tau_s: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Slow gain that multiplies all cells' rates, different in every trial.

    ``exp(x(t) - sd²/2)`` with x an Ornstein-Uhlenbeck process of standard
    deviation `sd` and time constant `tau_s`, started in its stationary state:
    at every moment the gain is log-normal with mean exactly 1, and its logarithm
    has the autocorrelation ``exp(-lag / tau_s)``.

    Parameters
    ----------
    n_trials, n_bins
        Size of the result; trials are independent.
    bin_width
        Of a bin, s.
    sd
        Standard deviation of the gain's logarithm; 0 gives a gain of 1.
    tau_s
        Correlation time, s.
    rng
        Generator that is drawn from.

    Returns
    -------
    numpy.ndarray
        (trial, bin), mean 1.

    Raises
    ------
    InputError
        If a size or a time is not positive, or `sd` is negative.
    """
    _positive("n_trials", n_trials)
    _positive("n_bins", n_bins)
    _positive("bin_width", bin_width)
    _positive("tau_s", tau_s)
    if not sd >= 0 or not np.isfinite(sd):
        raise InputError(
            f"is {sd:g}",
            where="shared_gain: sd",
            remedy="Give a standard deviation of 0 or more, such as 0.2.",
        )
    if sd == 0:
        return np.ones((n_trials, n_bins))

    log_gain = sd * slow_process(n_trials, n_bins, bin_width, tau_s, rng)
    return np.exp(log_gain - sd**2 / 2)


def slow_process(
    n_trials: int, n_bins: int, bin_width: float, tau_s: float, rng: np.random.Generator
) -> np.ndarray:
    """Ornstein-Uhlenbeck process (trial, bin) of variance 1, started in its stationary state.

    Notes
    -----
    The recursion is exact for any bin width (Gillespie 1996, Phys. Rev. E 54:2084, equation
    2.12a).
    """
    from scipy.signal import lfilter

    keep = np.exp(-bin_width / tau_s)
    steps = rng.standard_normal((n_trials, n_bins))
    steps[:, 1:] *= np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], steps, axis=1)


def drift_at(position: np.ndarray, change: float | np.ndarray) -> np.ndarray:
    """Factor by which drift multiplies each cell's rate at a place in the session.

    Linear, from ``1 - change/2`` at the session's start to ``1 + change/2`` at
    its end; mean 1 over the session.

    Parameters
    ----------
    position
        (...) place in the session, 0 at its start to 1 at its end.
    change
        Share of the mean rate that is gained (negative: lost) over the session:
        a number, or (neuron,).

    Returns
    -------
    numpy.ndarray
        (...) or (..., neuron).

    Raises
    ------
    InputError
        If a rate would become negative: a change beyond -2 to 2.
    """
    position, change = np.asarray(position, float), np.asarray(change, float)
    if not np.all(np.abs(change) <= 2):
        raise InputError(
            f"is {np.abs(change).max():g} times the mean rate, which makes rates negative",
            where="drift_at: change",
            remedy="Give a change between -2 and 2; 0.3 is a rise by 30 % over the session.",
        )
    return 1 + np.multiply.outer(position - 0.5, change)


def drift_factors(n_trials: int, change: float | np.ndarray) -> np.ndarray:
    """Factors of trials spread evenly over a session whose rates drift, mean 1.

    Parameters
    ----------
    n_trials
        How many; the first lies at the session's start, the last at its end.
    change
        As in `drift_at`: a number, or (neuron,).

    Returns
    -------
    numpy.ndarray
        (trial,) or (trial, neuron), from ``1 - change/2`` to ``1 + change/2``.

    Raises
    ------
    InputError
        If there is no trial, or a rate would become negative.

    Examples
    --------
    >>> drift_factors(3, 0.4)
    array([0.8, 1. , 1.2])
    """
    _positive("n_trials", n_trials)
    position = np.linspace(0, 1, n_trials) if n_trials > 1 else np.array([0.5])
    return drift_at(position, change)


def draw_counts(
    rate: np.ndarray,
    rng: np.random.Generator,
    noise: str = "poisson",
    max_count: int = 1,
) -> np.ndarray:
    """Spike counts about a rate: Poisson, or less variable than Poisson.

    Parameters
    ----------
    rate
        (...) expected count μ of each bin.
    rng
        Generator that is drawn from.
    noise
        ``"poisson"``: variance μ. ``"binomial"``: of `max_count` chances in a
        bin each gives a spike with probability ``μ / max_count``; variance
        ``μ (1 - μ / max_count)``, so the Fano factor falls as the rate rises.
    max_count
        Largest count of a bin, for binomial noise; 1 is Bernoulli.

    Returns
    -------
    numpy.ndarray
        (...) counts, int64.

    Raises
    ------
    InputError
        If a rate is negative or not finite, a binomial rate lies above
        `max_count`, or the noise is unknown.
    """
    one_of(noise, NOISES, "draw_counts: noise")
    rate = np.asarray(rate, float)
    if not np.all(rate >= 0) or not np.all(np.isfinite(rate)):
        raise InputError(
            "holds a value that is negative or not finite",
            where="draw_counts: rate",
            remedy="Give expected counts of 0 or more.",
        )
    if noise == "poisson":
        return rng.poisson(rate)
    _positive("max_count", max_count)
    if rate.size and rate.max() > max_count:
        raise InputError(
            f"reaches {rate.max():.3g} per bin, above the largest count of {max_count}",
            where="draw_counts: rate",
            remedy="Raise max_count, or lower the rate.",
        )
    return rng.binomial(int(max_count), rate / max_count)


def _positive(name: str, value: float) -> None:
    if not value > 0 or not np.isfinite(value):
        raise InputError(
            f"is {value:g}", where=f"modulation: {name}", remedy="Give a number above 0."
        )
