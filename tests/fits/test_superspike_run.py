"""A finished spiking run: what its file holds, and what can be asked of it."""

import warnings

import h5py
import numpy as np
import pytest

import neuromodels as nm
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.rasters import read_ras
from neuromodels.datasets.sample.superspike import superspike_task
from neuromodels.datasets.spike_trains import SpikeTrains
from neuromodels.fits.superspike.export import export_run
from neuromodels.fits.superspike.train import train_spikes
from neuromodels.options import OptionError
from neuromodels.spiking.simulation import Events, simulate
from neuromodels.spiking.surrogates import SigmoidSurrogate

OPTIONS = {"hidden": 6, "duration_s": 3.0, "epoch_s": 0.5, "w0_v": 0.4, "dtype": "float64"}


@pytest.fixture(scope="module")
def task():
    return superspike_task("single")


@pytest.fixture(scope="module")
def run(task):
    return train_spikes(task.inputs, task.target, **OPTIONS, seed=3)


def test_a_run_comes_back_from_its_file_as_it_was(run, tmp_path):
    path = run.to_hdf5(tmp_path / "run.h5")
    again = nm.load(path)
    assert isinstance(again, nm.SpikingRun)
    assert again.tree.identical(run.tree)
    assert again.network == run.network and again.options == run.options
    assert str(again) == str(run)


def test_other_programs_read_the_file(run, tmp_path):
    path = run.to_hdf5(tmp_path / "run.h5")
    with h5py.File(path) as file:
        weight = file["weights/hidden_to_output/weight"]
        assert weight.shape[1:] == (6, 1) and weight.attrs["units"] == "V"
        assert [weight.dims[i][0].name.split("/")[-1] for i in range(3)] == [
            "snapshot",
            "source",
            "target",
        ]
        assert file["spikes/time"].attrs["units"] == "s"


def test_the_trained_weights_answer_the_input_as_the_simulation_says(run, task):
    steps = Events(*task.inputs.steps(1e-4, 5000))
    activity, _ = simulate(run.network, run.weights(), steps, 5000)
    answer = run.respond(task.inputs)["output"]
    np.testing.assert_array_equal(answer.steps(1e-4)[0], activity.spikes[-1].steps)


def test_spikes_and_weights_of_every_kept_epoch_can_be_had(run):
    assert run.epochs == (1, 2, 3, 4, 5, 6)
    for epoch in run.epochs:
        assert run.spikes(epoch).n_neurons == 1
        assert run.spikes(epoch, "hidden").n_neurons == 6
    total = sum(len(run.spikes(epoch, "hidden")) for epoch in run.epochs)
    # An epoch is one loop: the spikes kept are all that there were.
    rate = run.progress["rate"].sel(population="hidden").values
    assert total == pytest.approx(float(rate.sum()) * 0.5 * 6)
    before, after = run.weights(0), run.weights()
    assert all(np.abs(after[name] - before[name]).max() > 0 for name in before)
    with pytest.raises(InputError, match="Kept are"):
        run.weights(17)
    with pytest.raises(InputError, match="Kept are"):
        run.spikes(17)
    with pytest.raises(InputError, match="hidden, output"):
        run.spikes(population="outptu")


def test_a_run_says_what_silence_and_the_best_answer_would_cost(run):
    about = run.progress.attrs
    # Five spikes, 83 ms apart, in half a second: 0.12 s² ∫α² dt · 5 / 0.5 s, tails aside.
    assert about["silent_cost"] == pytest.approx(0.12 * (100 / 3) * 5 / 0.5, rel=0.01)
    assert about["greedy_cost"] == 0 and about["n_unreachable"] == 0
    assert f"{about['silent_cost']:.1f}" in str(run)


def test_voltages_and_eligibilities_of_a_loop_are_kept(run):
    traces = run.tree["traces"].to_dataset()
    assert dict(traces.sizes) == {"time": 5000, "recorded": 1}
    # Spikes are where the voltage exceeds the threshold.
    above = np.flatnonzero(traces["voltage"].values[:, 0] > -50e-3)
    assert len(above) <= 5000 // 51 + 1
    assert np.isfinite(traces["eligibility"].values).all()
    axes = run.plot_traces((0.1, 0.3)).axes
    assert [ax.get_ylabel() for ax in axes] == [
        "membrane potential (mV)",
        "error (1/s)",
        "eligibility (Hz)",
    ]
    assert axes[2].get_xlim() == pytest.approx((0.1, 0.3), abs=2e-4)


def test_an_interrupted_call_resumes_to_the_same_file(run, task, tmp_path, monkeypatch):
    from neuromodels.fits.superspike.training import SuperSpikeTrainer

    note = SuperSpikeTrainer.note

    def interrupt(self):
        if self.epoch == 3:
            raise KeyboardInterrupt
        return note(self)

    out = tmp_path / "run.h5"
    monkeypatch.setattr(SuperSpikeTrainer, "note", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_spikes(task.inputs, task.target, **OPTIONS, seed=3, out=out)
    monkeypatch.setattr(SuperSpikeTrainer, "note", note)
    assert not out.exists()
    with pytest.raises(InputError, match="unfinished run"):
        train_spikes(task.inputs, task.target, **OPTIONS, seed=3, out=out)
    with pytest.raises(InputError, match="other data"):
        train_spikes(task.inputs, task.target, **OPTIONS, seed=4, out=out, resume=True)
    again = train_spikes(task.inputs, task.target, **OPTIONS, seed=3, out=out, resume=True)
    for name, values in run.weights().items():
        np.testing.assert_array_equal(values, again.weights()[name])
    assert again.tree["spikes"].identical(run.tree["spikes"])
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]


def test_a_run_does_not_replace_a_file_unasked(task, tmp_path):
    out = tmp_path / "run.h5"
    out.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        train_spikes(task.inputs, task.target, **OPTIONS, out=out)
    assert out.read_text() == "mine"


def test_weights_of_another_network_are_refused(task):
    with pytest.raises(OptionError, match="shape"):
        wrong = {"input_to_output": np.zeros((3, 1))}
        train_spikes(task.inputs, task.target, hidden=0, weights=wrong)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_brian2_sends_the_spikes_of_the_trained_network(run):
    found = run.compare_with_brian2()
    assert set(found) == {"hidden", "output"}
    assert all(one.same for one in found.values())
    assert found["hidden"].identical.sum() == len(run.respond(run.inputs)["hidden"]) > 0


def test_exports_are_files_that_other_programs_take(run, tmp_path):
    (learned,) = export_run(run, "ras", tmp_path / "learned.ras")
    assert read_ras(learned, 1, duration=0.5) == run.spikes()
    script = export_run(run, "brian2", tmp_path / "network.py")[0]
    compile(script.read_text(), str(script), "exec")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        export_run(run, "nir", tmp_path / "network.nir")
    assert any("refractory" in str(warning.message) for warning in caught)
    with pytest.raises(OptionError, match="brian2"):
        export_run(run, "brian", tmp_path / "network.py")
    with pytest.raises((InputError, OptionError), match="exists"):
        export_run(run, "brian2", tmp_path / "network.py")


def test_mistakes_of_units_are_told_before_the_training(task):
    slow = SpikeTrains(1e3 * task.target.times, task.target.neurons, 1, 500.0, "target.ras")
    for given, said in (
        ({"target": slow, "duration_s": 50.0}, "divide milliseconds by 1000"),
        ({"target": slow, "duration_s": 600.0}, "target.ras: duration.*only 0.5 s"),
        ({"duration_s": 0.2}, "shorter than update_s"),
        ({"preset": "demo", "duration_s": 20.0}, "burn-in"),
        ({"w0_v": 50.0}, "Volts are meant"),
        ({"learning_rate_v": 0.5}, "weight_bound_v"),
        ({"tau_mem_s": 10.0}, "Seconds are meant"),
        ({"hidden": (16, 0)}, "no number of neurons"),
        ({"hidden": None}, "no number of neurons"),
        ({"hidden": 0, "weights": {"input_to_output": np.full((100, 1), 20.0)}}, "beyond"),
        ({"inputs": "in.ras"}, "read_spike_trains"),
    ):
        with pytest.raises((InputError, OptionError), match=f"(?s){said}"):
            train_spikes(**{"inputs": task.inputs, "target": task.target, "hidden": 4} | given)


def test_the_record_says_which_surrogate_was_used(task, run, tmp_path):
    given = SigmoidSurrogate(1000.0)
    other = train_spikes(task.inputs, task.target, **OPTIONS, seed=3, surrogate=given)
    again = nm.load(other.to_hdf5(tmp_path / "run.h5"))
    assert again.options.surrogate == "given"
    assert again.attrs["surrogate"]["name"] == given.config["name"] and "surrogate" in str(again)
    assert run.attrs["surrogate"] == "superspike"


def test_short_trainings_have_ten_epochs(task):
    found = train_spikes(task.inputs, task.target, hidden=0, duration_s=20.0)
    assert found.progress.sizes["epoch"] == 10
