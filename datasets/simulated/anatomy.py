"""Where the cells of a simulated retina are, and what is connected to what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.simulated.kernels import is_exponentials
from neuromodels.datasets.simulated.parameters import RetinaParameters

USED_SHARE = 0.8  # of the screen, at most, that the mosaics of ganglion cells take
HEARD = 1e-3  # of the largest weight of a pool; subunits below that are left out
MOST_SUBUNITS = 20_000


@dataclass(frozen=True, eq=False)
class Screen:
    """Centres of the pixels, µm, and their size."""

    y: np.ndarray
    x: np.ndarray
    pixel_um: float


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One retina: what a seed draws.

    Attributes
    ----------
    subunit_yx : (subunit, 2), µm
        An ON and an OFF bipolar cell are at every place.
    cell_yx : (neuron, 2), µm
    is_on : (neuron,) bool
    excitation, inhibition : (subunit, neuron)
        Weights; every column sums to 1.
    factor_within, factor_across : (source, neuron)
        Factor of the coupling kernel within and across types; 0 where there is no coupling.
    mean_rate_hz : (neuron,)
    drift : (neuron,)
        Change over the session, as a share of the mean rate.
    """

    subunit_yx: np.ndarray
    cell_yx: np.ndarray
    is_on: np.ndarray
    excitation: np.ndarray
    inhibition: np.ndarray
    factor_within: np.ndarray
    factor_across: np.ndarray
    mean_rate_hz: np.ndarray
    drift: np.ndarray

    @property
    def names(self) -> list[str]:
        """Of the neurons: on0, on1, ..., off0, ..."""
        n_on = int(self.is_on.sum())
        return [f"on{i}" for i in range(n_on)] + [f"off{i}" for i in range(len(self.is_on) - n_on)]


def draw_anatomy(
    screen: Screen, n_cells: int, parameters: RetinaParameters, rng: np.random.Generator
) -> Anatomy:
    """Two mosaics of ganglion cells over a grid of subunits, all jittered.

    Raises
    ------
    InputError
        If there are too many subunits.
    """
    p = parameters
    subunits, _ = _mosaic(None, screen, p.subunit_spacing_um, p.jitter, 1.0, rng)
    n_on = int(round(n_cells * p.on_share))
    on, on_step = _mosaic(n_on, screen, p.cell_spacing_um, p.jitter, USED_SHARE, rng)
    off, off_step = _mosaic(n_cells - n_on, screen, p.cell_spacing_um, p.jitter, USED_SHARE, rng)
    cells, is_on = np.concatenate([on, off]), np.arange(n_cells) < n_on
    distance = _distances(subunits, cells)
    spread = np.exp(p.weight_spread * rng.standard_normal(distance.shape))
    excitation = _pool(distance, p.ganglion_sigma_um) * spread
    inhibition = _pool(distance, p.amacrine_sigma_um)
    # Subunits that nobody hears would only cost time.
    pools = [excitation, inhibition] if p.amacrine_strength else [excitation]
    used = np.any([(pool > HEARD * pool.max(axis=0)).any(axis=1) for pool in pools], axis=0)
    subunits, excitation, inhibition = subunits[used], excitation[used], inhibition[used]
    reach = p.coupling_reach * min(on_step, off_step)
    between = _distances(cells, cells)
    near = (between <= reach) & ~np.eye(n_cells, dtype=bool)
    factor = near * np.exp(p.coupling_spread * rng.standard_normal(near.shape))
    same = is_on[:, None] == is_on
    within, across = _limited(
        {"coupling_within": factor * same, "coupling_across": factor * ~same}, p
    )
    low, high = p.mean_rates
    return Anatomy(
        subunit_yx=subunits,
        cell_yx=cells,
        is_on=is_on,
        excitation=excitation / excitation.sum(axis=0),
        inhibition=inhibition / inhibition.sum(axis=0),
        factor_within=within,
        factor_across=across,
        mean_rate_hz=np.exp(rng.uniform(np.log(low), np.log(high), n_cells)),
        drift=p.drift * rng.uniform(-1, 1, n_cells),
    )


def receptive_fields(screen: Screen, anatomy: Anatomy, sigma_um: float) -> np.ndarray:
    """Weights of the pixels (y x, subunit): Gaussians that sum to 1.

    A Gaussian narrower than a pixel is widened by the pixel's own width.
    """
    grid = np.stack(np.meshgrid(screen.y, screen.x, indexing="ij"), -1).reshape(-1, 2)
    width = np.sqrt(sigma_um**2 + screen.pixel_um**2 / 12)
    weight = _pool(_distances(grid, anatomy.subunit_yx), width)
    return weight / weight.sum(axis=0)


def history_and_coupling(
    anatomy: Anatomy, parameters: RetinaParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Kernels (lag, neuron) and (lag, source, neuron); row 0 is lag 1."""
    own = parameters.kernel("history")
    within, across = parameters.kernel("coupling_within"), parameters.kernel("coupling_across")
    coupling = np.zeros((max(within.size, across.size), *anatomy.factor_within.shape))
    coupling[: within.size] += within[:, None, None] * anatomy.factor_within
    coupling[: across.size] += across[:, None, None] * anatomy.factor_across
    return np.repeat(own[:, None], len(anatomy.is_on), axis=1), coupling


def exponential_terms(
    anatomy: Anatomy, parameters: RetinaParameters
) -> list[tuple[float, np.ndarray]]:
    """The same kernels as (tau_s, weight (source, neuron)): ``Σ weight exp(-lag dt / tau_s)``.

    Raises
    ------
    InputError
        If one of them is given as an array over lags.
    """
    terms: dict[float, np.ndarray] = {}
    for name, factor in (
        ("history", np.eye(len(anatomy.is_on))),
        ("coupling_within", anatomy.factor_within),
        ("coupling_across", anatomy.factor_across),
    ):
        pairs = getattr(parameters, name)
        if not is_exponentials(pairs):
            raise InputError(
                "is an array over lags",
                where=f"RetinaParameters: {name}",
                remedy="Give it as pairs of (amplitude, time constant in s).",
            )
        for amplitude, tau in pairs:
            terms[float(tau)] = terms.get(float(tau), 0) + float(amplitude) * factor
    return list(terms.items())


def _limited(factors: dict[str, np.ndarray], p: RetinaParameters) -> list[np.ndarray]:
    """Factors (source, neuron) by kernel, such that no cell hears more than the limit."""
    if p.excitation_limit is None:
        return list(factors.values())
    peaks = {name: max(p.kernel(name).max(), 0) for name in factors}
    heard = sum(peak * factors[name].sum(axis=0) for name, peak in peaks.items())
    share = np.where(heard > p.excitation_limit, p.excitation_limit / np.maximum(heard, 1e-300), 1)
    return [factors[name] * (share if peak else 1) for name, peak in peaks.items()]


def _mosaic(
    n: int | None, screen: Screen, spacing: float, jitter: float, share: float, rng
) -> tuple[np.ndarray, float]:
    """Places (n, 2) on a jittered grid about the screen's centre, and its spacing.

    None: as many as fill the screen. An axis of one pixel has one place and no jitter.
    """
    lengths = [
        axis.size * screen.pixel_um if axis.size > 1 else 0.0 for axis in (screen.y, screen.x)
    ]
    if n is None:
        counts = [max(1, round(length / spacing)) for length in lengths]
        n = counts[0] * counts[1]
        if n > MOST_SUBUNITS:
            raise InputError(
                f"of {spacing:g} µm makes {n:,} subunits on {lengths[0]:g} x {lengths[1]:g} µm",
                where="RetinaParameters: subunit_spacing_um",
                remedy=f"At most {MOST_SUBUNITS:,}: give wider spacing, or a smaller screen.",
            )
    else:
        counts = _rows_and_columns(n, lengths)
        fits = [
            share * length / (count - 1)
            for length, count in zip(lengths, counts, strict=True)
            if count > 1
        ]
        spacing = min([spacing, *fits])
    axes = [(np.arange(count) - (count - 1) / 2) * spacing for count in counts]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    order = np.argsort(np.hypot(*grid.T), kind="stable")[:n]
    moved = rng.uniform(-jitter, jitter, (n, 2)) * spacing * (np.array(lengths) > 0)
    centre = np.array([screen.y.mean(), screen.x.mean()])
    return centre + grid[np.sort(order)] + moved, spacing


def _rows_and_columns(n: int, lengths: list[float]) -> tuple[int, int]:
    height, width = lengths
    if height == 0:
        return 1, max(n, 1)
    if width == 0:
        return max(n, 1), 1
    rows = max(1, round(np.sqrt(n * height / width)))
    return rows, int(np.ceil(n / rows))


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.hypot(*(a[:, None] - b).transpose(2, 0, 1))


def _pool(distance: np.ndarray, sigma: float) -> np.ndarray:
    # Relative to the nearest, so that a narrow pool far from all of them does not vanish.
    nearest = distance.min(axis=0, keepdims=True)
    return np.exp((nearest**2 - distance**2) / (2 * sigma**2))
