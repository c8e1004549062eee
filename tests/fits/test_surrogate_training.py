"""Training by surrogate gradients: losses against closed forms, learning, exact resuming."""

import numpy as np
import pytest
import torch

from neuromodels.fits.superspike.losses import (
    filtered,
    peak_voltage_cross_entropy,
    rate_cross_entropy,
    snntorch_loss,
    van_rossum_loss,
)
from neuromodels.fits.superspike.surrogate_training import (
    SpikingTrials,
    SurrogateOptions,
    output_of,
    train_surrogate,
)
from neuromodels.options import OptionError
from neuromodels.spiking.events import find_events
from neuromodels.spiking.kernels import error_kernel
from neuromodels.spiking.modules import LIFNetwork
from neuromodels.spiking.neurons import LIFParameters
from neuromodels.spiking.snntorch_bridge import to_snntorch
from neuromodels.spiking.surrogates import SuperSpikeSurrogate

DT_S = 1e-3
ALPHA = error_kernel(5e-3, 10e-3, DT_S)


def random_spikes(shape, density=0.05, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator, dtype=torch.float64) < density).double()


def classes(n_trials=60, n_steps=60, seed=0):
    """Two classes of spike patterns: which half of the inputs fires more."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (n_trials,), generator=generator)
    rates = torch.full((n_trials, 20), 0.02)
    rates[labels == 0, :10] = rates[labels == 1, 10:] = 0.08
    draws = torch.rand((n_trials, n_steps, 20), generator=generator)
    return (draws < rates[:, None]).float(), labels


def test_filtering_is_the_convolution_with_the_sampled_kernel():
    signal = random_spikes((2, 80, 3))
    expected = ALPHA.filter(signal.numpy().transpose(1, 0, 2)).transpose(1, 0, 2)
    np.testing.assert_allclose(filtered(signal, ALPHA), expected, atol=1e-12)


def test_the_gradient_of_filtering_is_its_adjoint():
    signal = random_spikes((1, 30, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: filtered(x, ALPHA), signal)


def test_the_fourier_form_for_other_devices_is_the_same(monkeypatch):
    signal = random_spikes((2, 80, 3)).requires_grad_()
    compiled = filtered(signal, ALPHA)
    (gradient,) = torch.autograd.grad(compiled.pow(2).sum(), signal)
    with monkeypatch.context() as patch:
        # Meta tensors hold no numbers: the same branch is reached by hiding the precision.
        patch.setattr("neuromodels.fits.superspike.losses.torch.float64", None)
        by_fourier = filtered(signal, ALPHA)
        (other,) = torch.autograd.grad(by_fourier.pow(2).sum(), signal)
    torch.testing.assert_close(by_fourier, compiled, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(other, gradient, rtol=1e-10, atol=1e-8)


def test_van_rossum_loss_of_two_single_spikes_has_the_closed_form():
    dt_s = 1e-5
    kernel = error_kernel(5e-3, 10e-3, dt_s)
    spikes, target = (torch.zeros(1, 20000, 1, dtype=torch.float64) for _ in range(2))
    spikes[0, 1000, 0], target[0, 1700, 0] = 1, 1
    tau_r, tau_d, lag = 5e-3, 10e-3, 7e-3
    # ∫ α(t) α(t + lag) dt; at lag 0 it is 1 / (2 (τ_r + τ_d)).
    overlap = (tau_d * np.exp(-lag / tau_d) - tau_r * np.exp(-lag / tau_r)) / (
        2 * (tau_d**2 - tau_r**2)
    )
    expected = 1 / (2 * (tau_r + tau_d)) - overlap
    for one, other in ((spikes, target), (target, spikes)):
        loss = van_rossum_loss(one, other, kernel, dt_s).item()
        assert loss == pytest.approx(expected, rel=1e-5)
    assert van_rossum_loss(spikes, spikes, kernel, dt_s).item() == 0


def test_reductions_agree_and_wrong_shapes_are_refused():
    spikes, target = random_spikes((2, 50, 3)), random_spikes((2, 50, 3), seed=1)
    each = van_rossum_loss(spikes, target, ALPHA, DT_S, "none")
    assert each.shape == (2, 3)
    assert van_rossum_loss(spikes, target, ALPHA, DT_S, "sum") == pytest.approx(each.sum())
    assert van_rossum_loss(spikes, target, ALPHA, DT_S) == pytest.approx(each.mean())
    with pytest.raises(OptionError, match="trial, step, neuron"):
        van_rossum_loss(spikes, target[:1], ALPHA, DT_S)
    with pytest.raises(OptionError, match="mean, sum or none"):
        van_rossum_loss(spikes, target, ALPHA, DT_S, "median")


def test_a_network_learns_to_fire_at_given_times():
    network = LIFNetwork(
        [40, 8], LIFParameters(refractory_s=2e-3), weight_scale_v=0.05,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    inputs, target = random_spikes((1, 200, 40), 0.02).float(), torch.zeros(1, 200, 8)
    for neuron in range(8):
        target[0, 40 + 15 * neuron, neuron] = 1
    record = train_surrogate(
        network, SpikingTrials(inputs, target), lambda s, t: van_rossum_loss(s, t, ALPHA, DT_S),
        SurrogateOptions(epochs=200, learning_rate=5e-4),
    )  # fmt: skip
    silent = van_rossum_loss(torch.zeros_like(target), target, ALPHA, DT_S).item()
    loss = record.history["loss"]
    assert min(loss[-20:]) < 0.1 * silent
    assert record.best_epoch == 199 and record.stopped == "all 200 epochs done"


@pytest.mark.parametrize("kind", ["rate", "voltage", "snntorch loss", "events"])
def test_a_network_learns_to_classify_with_every_loss(kind):
    import snntorch.functional

    inputs, labels = classes()
    network = LIFNetwork(
        [20, 16, 2], readout="voltage" if kind == "voltage" else "spikes",
        weight_scale_v=0.1, generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    loss = {
        "voltage": peak_voltage_cross_entropy,
        "snntorch loss": snntorch_loss(snntorch.functional.ce_count_loss()),
    }.get(kind, rate_cross_entropy)
    given = find_events(inputs) if kind == "events" else inputs
    train_surrogate(
        network, SpikingTrials(given, labels), loss,
        SurrogateOptions(epochs=15, batch_trials=20, learning_rate=2e-3),
    )  # fmt: skip
    new, right = classes(seed=5)
    out = output_of(network, new)
    answer = (out.amax(1) if kind == "voltage" else out.sum(1)).argmax(1)
    assert (answer == right).float().mean() > 0.9


def test_a_network_of_snntorch_modules_is_trained_too():
    inputs, labels = classes(n_steps=30)
    network = to_snntorch(
        LIFNetwork(
            [20, 2], LIFParameters(refractory_s=0), weight_scale_v=0.2,
            surrogate=SuperSpikeSurrogate(300.0), generator=torch.Generator().manual_seed(1),
        ),
        time_first=False,
    )  # fmt: skip
    record = train_surrogate(
        network, SpikingTrials(inputs, labels), rate_cross_entropy,
        SurrogateOptions(epochs=8, batch_trials=20, learning_rate=1e-3),
    )  # fmt: skip
    assert record.history["loss"][-1] < 0.8 * record.history["loss"][0]


def make_case():
    network = LIFNetwork([20, 6, 2], weight_scale_v=0.1, generator=torch.Generator().manual_seed(1))
    inputs, labels = classes(n_trials=24, n_steps=40)
    data = SpikingTrials(inputs[:16], labels[:16])
    return network, data, SpikingTrials(inputs[16:], labels[16:])


def test_an_interrupted_training_goes_on_as_if_never_stopped(tmp_path):
    whole, data, validation = make_case()
    options = SurrogateOptions(epochs=6, batch_trials=5, gradient_clip=1.0, weight_bound_v=0.1)
    record = train_surrogate(whole, data, rate_cross_entropy, options, validation=validation)
    path = tmp_path / "state.h5"
    for epochs in (2, 6):
        parts, data, validation = make_case()
        again = train_surrogate(
            parts, data, rate_cross_entropy,
            SurrogateOptions(epochs, 5, gradient_clip=1.0, weight_bound_v=0.1),
            validation=validation, checkpoint=path,
        )  # fmt: skip
    assert again.history["loss"] == record.history["loss"]
    assert again.history["validation"] == record.history["validation"]
    assert again.best_epoch == record.best_epoch == int(np.argmin(record.history["validation"]))
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.abs().max() <= 0.1
    with pytest.raises(OptionError, match="other options"):
        train_surrogate(
            parts, data, rate_cross_entropy, SurrogateOptions(batch_trials=7), checkpoint=path
        )


def test_bad_options_and_data_are_refused():
    for wrong in ({"epochs": 0}, {"learning_rate": 0.0}, {"gradient_clip": -1.0}):
        with pytest.raises(OptionError):
            SurrogateOptions(**wrong)
    network, data, _ = make_case()
    with pytest.raises(OptionError, match="16 training trials have 3 targets"):
        train_surrogate(network, data._replace(targets=data.targets[:3]), rate_cross_entropy)
