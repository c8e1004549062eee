"""RMaxProp: a learning rate per synapse, divided by the largest gradient of the recent past."""

from __future__ import annotations

import math

import numpy as np

from neuromodels.options import OptionError


class RMaxProp:
    """Step the weights of one connection, each at its own rate.

    v ← max(γ v, g²), r = r₀ / (√v + ε), w ← clip(w − r g); γ = exp(−Δ/τ_rms), Δ the time between
    updates. Since v ≥ g², no weight moves by more than r₀, and a constant factor in g cancels (ε
    aside). Zenke & Ganguli 2018, section 2; they print neither τ_rms nor ε.

    Parameters
    ----------
    shape : tuple of int
        (n_source, n_target) of the weights.
    update_s : float
        Time between updates, s.
    tau_rms_s : float
        How long a large gradient is remembered, s.
    epsilon : float
        In units of the gradient.
    bounds_v : tuple of float
        Smallest and largest weight, V.
    dtype : type
        float32 or float64.

    Attributes
    ----------
    peak : numpy.ndarray
        (n_source, n_target), √v: the square root is kept, so that small gradients do not vanish
        when they are squared in single precision.

    Raises
    ------
    OptionError
        A time that is not positive, a negative ε, or bounds in the wrong order.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        update_s: float = 0.5,
        tau_rms_s: float = 30.0,
        epsilon: float = 1e-12,
        bounds_v: tuple[float, float] = (-0.1, 0.1),
        dtype: type = np.float64,
    ):
        for name, value in (("update_s", update_s), ("tau_rms_s", tau_rms_s)):
            if not value > 0:
                raise OptionError(f"{name} = {value:g} s must be positive.")
        if not (math.isfinite(epsilon) and epsilon >= 0):
            raise OptionError(f"epsilon = {epsilon:g} must not be negative.")
        if not bounds_v[0] < bounds_v[1]:
            raise OptionError(
                f"bounds_v = {bounds_v} must be the smallest and the largest weight, in V.",
                remedy="For example (-0.1, 0.1).",
            )
        self.epsilon, self.bounds_v = epsilon, bounds_v
        self.kept = math.exp(-0.5 * update_s / tau_rms_s)
        self.peak = np.zeros(shape, dtype)

    def step(
        self,
        weights: np.ndarray,
        gradient: np.ndarray,
        rate_v: float,
        *,
        learn: bool = True,
        peak: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the weights after an update block.

        Parameters
        ----------
        weights : numpy.ndarray
            (n_source, n_target), V; not changed.
        gradient : numpy.ndarray
            (n_source, n_target), g: mean of e·λ over the block, or anything proportional to it.
        rate_v : float
            r₀, the largest change of a weight, V.
        learn : bool
            False only updates v (a burn-in block).
        peak : numpy.ndarray, optional
            √v from elsewhere, in units of the gradient: the engine `online` keeps it per step (its
            `peaks`), with γ per step. A weight then moves by up to r₀ exp(Δ / 2 τ_rms).

        Returns
        -------
        numpy.ndarray
            (n_source, n_target), V.
        """
        if peak is None:
            np.maximum(self.kept * self.peak, np.abs(gradient), out=self.peak)
        else:
            self.peak[...] = peak
        if not learn:
            return weights
        # Without ε, a synapse that has never seen a gradient has nothing to divide by.
        scale = self.peak + self.peak.dtype.type(self.epsilon)
        share = np.divide(gradient, scale, out=np.zeros_like(self.peak), where=scale > 0)
        return np.clip(weights - self.peak.dtype.type(rate_v) * share, *self.bounds_v)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that is carried from block to block, for a checkpoint."""
        return {"peak": self.peak.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        self.peak = state["peak"].astype(self.peak.dtype)
