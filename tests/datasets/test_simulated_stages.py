"""From light to drive, against gamma functions and hand-made retinas."""

import numpy as np
import pytest
from scipy.stats import gamma

from neuromodels.datasets.simulated.anatomy import Screen, draw_anatomy, receptive_fields
from neuromodels.datasets.simulated.parameters import RetinaParameters
from neuromodels.datasets.simulated.stages import (
    Scale,
    bipolar_inputs,
    ganglion_inputs,
    linear_filter,
    subunit_inputs,
)

SCREEN = Screen((np.arange(8) - 3.5) * 50, (np.arange(10) - 4.5) * 50, 50.0)
UNIT = np.ones(2)


def retina(n=4, seed=0, **changes):
    p = RetinaParameters(**changes)
    return p, draw_anatomy(SCREEN, n, p, np.random.default_rng(seed))


def summed(p, anatomy, contrast, steps=None):
    steps = np.arange(len(contrast)) if steps is None else steps
    on, off = subunit_inputs(contrast, steps, SCREEN, anatomy, p)
    return ganglion_inputs(on, off, UNIT, anatomy, p)


def test_photoreceptors_answer_with_a_difference_of_gamma_functions():
    p = RetinaParameters(on_bipolar_tau_s=1e-9, dt=0.0002)
    light = np.zeros((1000, 1))
    light[0] = 1
    on, _ = bipolar_inputs(light, p)
    t = np.arange(999) * p.dt  # the answer begins a step late
    expected = gamma.pdf(t, 4, scale=0.015) - 0.7 * gamma.pdf(t, 4, scale=0.025)
    assert on[1:, 0] == pytest.approx(expected * p.dt, abs=0.02 * expected.max() * p.dt)
    assert on[0, 0] == 0


def test_off_subunits_see_light_that_dims():
    p = RetinaParameters(off_bipolar_tau_s=0.015)
    on, off = bipolar_inputs(np.random.default_rng(0).normal(size=(50, 2)), p)
    assert np.array_equal(off, -on)


def test_receptive_fields_pass_a_full_field_unchanged():
    p, anatomy = retina()
    fields = receptive_fields(SCREEN, anatomy, p.subunit_sigma_um)
    assert fields.sum(axis=0) == pytest.approx(1)
    for weights in (anatomy.excitation, anatomy.inhibition):
        assert weights.sum(axis=0) == pytest.approx(1)


def test_a_linear_retina_is_its_filter():
    p, anatomy = retina(subunit_nonlinearity="linear", amacrine_strength=0.0, dt=0.005)
    scale = Scale(np.array([0.5, 0.7]), np.zeros(4), np.array([1.0, 2.0, 3.0, 4.0]))
    light = np.random.default_rng(1).uniform(0, 1, (50, 8, 10))
    on, off = subunit_inputs((light.reshape(50, -1) - 0.5) / 0.5, np.arange(50), SCREEN, anatomy, p)
    drive = p.drive_sd * ganglion_inputs(on, off, scale.subunit, anatomy, p) / scale.sd
    kernel = linear_filter(SCREEN, anatomy, p, scale, 0.5)
    last = np.einsum("lyx,lyxn->n", light[49::-1] - 0.5, kernel[:50])
    assert drive[49] == pytest.approx(last, rel=1e-6)


def test_rectified_subunits_answer_to_a_grating_that_reverses_twice_per_cycle():
    # The stripes cancel in a linear pool; in a rectified one each half cycle excites some subunits.
    stripes = np.tile(np.repeat([1.0, -1.0], 2)[np.arange(8) % 4][:, None], (1, 10)).ravel()
    sign = np.where(np.arange(1600) // 100 % 2, 1.0, -1.0)
    period = 200
    power = {}
    for kind in ("linear", "rectifier"):
        p, anatomy = retina(subunit_nonlinearity=kind, amacrine_strength=0.0)
        z = summed(p, anatomy, sign[:, None] * stripes)[800:]
        spectrum = np.abs(np.fft.rfft(z, axis=0))
        cycles = len(z) // period
        power[kind] = spectrum[2 * cycles].mean() / spectrum[cycles].mean()
    assert power["linear"] < 0.1
    assert power["rectifier"] > 1


def test_inhibition_comes_after_its_delay():
    contrast = np.zeros((200, 80))
    contrast[100:] = 1
    excited = summed(*retina(amacrine_strength=0.0), contrast)
    first = {}
    for delay_s in (0.0, 0.03):
        both = summed(*retina(amacrine_strength=1.0, amacrine_delay_s=delay_s), contrast)
        less = excited - both
        assert (less >= -1e-12).all(), "inhibition only subtracts"
        first[delay_s] = int(np.argmax((less > 1e-12).any(axis=1)))
    assert first[0.0] > 100
    assert first[0.03] - first[0.0] == 30


def test_the_drive_sees_only_what_was_on_screen_before():
    p, anatomy = retina()
    rng = np.random.default_rng(0)
    contrast = rng.normal(size=(60, 80))
    changed = contrast.copy()
    changed[40:] = rng.normal(size=(20, 80))
    a, b = summed(p, anatomy, contrast), summed(p, anatomy, changed)
    assert np.array_equal(a[:41], b[:41])
    assert (a[42:] != b[42:]).any()


def test_bins_without_a_frame_show_the_mean():
    p, anatomy = retina(subunit_nonlinearity="linear", amacrine_strength=0.0)
    assert (summed(p, anatomy, np.ones((1, 80)), np.full(50, -1)) == 0).all()


def test_types_share_their_filters_between_retinas_and_places_differ():
    p, first = retina(seed=1)
    _, second = retina(seed=2)
    assert not np.allclose(first.cell_yx, second.cell_yx)
    contrast = np.ones((100, 80))
    one, two = (subunit_inputs(contrast, np.arange(100), SCREEN, a, p)[0] for a in (first, second))
    assert one[:, 0] == pytest.approx(two[:, 0])


def test_neighbours_are_coupled_and_distant_cells_are_not():
    p = RetinaParameters()
    wide = Screen((np.arange(40) - 19.5) * 50, (np.arange(40) - 19.5) * 50, 50.0)
    anatomy = draw_anatomy(wide, 30, p, np.random.default_rng(0))
    between = np.hypot(*(anatomy.cell_yx[:, None] - anatomy.cell_yx).transpose(2, 0, 1))
    coupled = (anatomy.factor_within + anatomy.factor_across) > 0
    assert np.array_equal(coupled, (between <= 1.3 * 150) & ~np.eye(30, dtype=bool))
    assert (coupled.sum(axis=0) > 0).all()
