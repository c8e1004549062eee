"""Means over animals: recordings of one animal first, then animals, each counted once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

#: With fewer animals nothing is said about how far others would lie from them.
MIN_ANIMALS = 3


class OverAnimals(NamedTuple):
    """A mean over animals with its spread, each of the shape of the values of one animal.

    Attributes
    ----------
    mean, sd, standard_error : numpy.ndarray
        Over the animals that have a value; NaN where there is none, the last two also where
        there is one animal.
    low, high : numpy.ndarray
        95 % interval of the mean, Student's t with n − 1 degrees of freedom; NaN below
        `MIN_ANIMALS`.
    n : numpy.ndarray
        Animals that have a value.
    """

    mean: np.ndarray
    sd: np.ndarray
    standard_error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray


def average_by_animal(
    values: np.ndarray, animals: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Average the recordings of each animal: two recordings of one animal are no two animals.

    Parameters
    ----------
    values : array
        (recording, ...); NaN where a recording has no value.
    animals : sequence of str
        (recording,): whose recording it is.

    Returns
    -------
    names : tuple of str
        The animals, in order of appearance.
    averaged : numpy.ndarray
        (animal, ...): mean over the animal's recordings that have a value.

    Examples
    --------
    >>> average_by_animal(np.array([1.0, 3.0, 10.0]), ["a", "a", "b"])
    (('a', 'b'), array([ 2., 10.]))
    """
    names = tuple(dict.fromkeys(animals))
    of = np.asarray(animals)
    values = np.asarray(values, dtype=float)
    return names, np.stack([_mean(values[of == name]) for name in names])


def _mean(values: np.ndarray) -> np.ndarray:
    n = np.isfinite(values).sum(axis=0)
    return np.where(n > 0, np.nansum(values, axis=0), np.nan) / np.maximum(n, 1)


def mean_over_animals(values: np.ndarray) -> OverAnimals:
    """Average animals, with the 95 % interval in which the mean of all such animals would lie.

    Parameters
    ----------
    values : array
        (animal, ...); NaN where an animal has no value.

    Returns
    -------
    OverAnimals

    Notes
    -----
    The interval is mean ± t(n − 1) · sd / √n. Its coverage is exact if the animals' values are
    drawn from a normal distribution; with a few animals nothing in the data can show that they
    are, so a table states n. Cells and time are not resampled: their noise is part of what
    differs between animals.

    Examples
    --------
    >>> found = mean_over_animals(np.array([1.0, 2.0, 3.0]))
    >>> float(found.mean), float(found.sd), round(float(found.high), 2)
    (2.0, 1.0, 4.48)
    """
    values = np.asarray(values, dtype=float)
    n = np.isfinite(values).sum(axis=0)
    mean = _mean(values)
    squares = np.nansum((values - mean) ** 2, axis=0)
    sd = np.sqrt(np.where(n > 1, squares, np.nan) / np.maximum(n - 1, 1))
    error = sd / np.sqrt(np.maximum(n, 1))
    width = stdtrit(np.maximum(n - 1, 1), 0.975) * error
    width = np.where(n >= MIN_ANIMALS, width, np.nan)
    return OverAnimals(mean, sd, error, mean - width, mean + width, n)
