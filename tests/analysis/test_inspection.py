"""What `neuromodels inspect` shows: known by construction, and honest where it cannot be known."""

import json

import numpy as np
import pytest
import xarray as xr

from neuromodels.analysis.inspection import inspect_recording
from neuromodels.analysis.plots.inspection import save_inspection_figures
from neuromodels.analysis.spike_quality import gain_over_trials
from neuromodels.datasets.arrays import recording_from_arrays
from neuromodels.datasets.building import build_recording, build_role
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import SLAB_BYTES, lazy_variable
from neuromodels.datasets.recording import Recording
from neuromodels.datasets.sample import sample_recording

N_BLOCKS, N_BINS, WIDTH = 40, 200, 0.01  # 40 blocks of 2 s


def frames(n, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (n, 2, 2), dtype="u1")


def train_of(rate, seed=0):
    """Poisson counts (bin, neuron) of rates (block, bin, neuron) in spikes per bin."""
    counts = np.random.default_rng(seed).poisson(rate)
    return {
        "stimulus": frames(rate.shape[0] * rate.shape[1], seed),
        "counts": counts.reshape(-1, rate.shape[-1]),
        "blocks": np.repeat(np.arange(rate.shape[0]), rate.shape[1]),
        "bin_width": WIDTH,
    }


def flat(n_neurons=10, rate=0.2):
    return np.full((N_BLOCKS, N_BINS, n_neurons), rate)


def ramp(n, fall):
    return np.linspace(1 + fall / 2, 1 - fall / 2, n)


def repeats_of(n_trials=40, n_bins=300, n_neurons=3, seed=0, gain=None):
    rng = np.random.default_rng(seed)
    rate = rng.gamma(1.0, 0.3, (n_bins, n_neurons))
    gain = np.ones(n_trials) if gain is None else gain
    return {
        "test_stimulus": frames(n_bins, seed + 99),
        "test_counts": rng.poisson(rate * gain[:, None, None]),
    }


def only(recording, **options):
    return inspect_recording(recording, **{"alignment": False, **options}).stimuli[0]


def with_node(recording, path, dataset):
    """The recording with one role replaced, as a file edited by hand would be."""
    nodes = {node.path: node.to_dataset(inherit=False) for node in recording.tree.subtree}
    return Recording(xr.DataTree.from_dict({**nodes, path: dataset}), recording.source)


def test_rates_are_spikes_over_seconds_of_all_unrepeated_data():
    counts = np.zeros((400, 2), int)
    counts[::4, 0] = 1  # 100 spikes in 4 s
    heldout = np.zeros((100, 2), int)
    heldout[:, 1] = 2  # 200 spikes in 1 s
    recording = recording_from_arrays(
        frames(400),
        counts,
        bin_width=WIDTH,
        heldout_stimulus=frames(100, 1),
        heldout_counts=heldout,
    )
    found = only(recording, bin_width=0.05)
    assert found.rate == pytest.approx([100 / 5, 200 / 5])
    assert (found.rate_units, found.rate_from) == ("Hz", "train + heldout")


def test_traces_keep_their_unit():
    traces = np.tile([[0.5, -1.0]], (60, 1))
    recording = recording_from_arrays(
        frames(60), traces, bin_width=0.1, kind="trace", response_units="ΔF/F"
    )
    found = inspect_recording(recording)
    assert found.stimuli[0].rate == pytest.approx([0.5, -1.0])
    assert "mean (ΔF/F)" in found.text()
    assert "Hz" not in found.text().replace(" at 10 Hz", "")


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_recording_is_not_called_drifting(seed):
    """Threshold: 3 in 1000 neurons by chance, and a chance change of > 10 % is rarer still."""
    repeats = repeats_of(n_neurons=10, seed=seed)
    found = only(recording_from_arrays(**train_of(flat(), seed), **repeats))
    assert found.over_blocks.over == "40 blocks"
    assert found.over_trials.over == "40 trials"
    assert not found.over_blocks.drifts.any()
    assert not found.onset.differs.any()
    assert not found.over_trials.drifts.any()
    # and the errors are of the right size: 10 neurons scatter within them
    z = found.over_blocks.change / found.over_blocks.standard_error
    assert 0.3 < np.std(z) < 2


@pytest.mark.parametrize("seed", range(5))
def test_a_recording_that_fades_is_called_drifting_by_the_right_amount(seed):
    fading = flat(rate=0.5) * ramp(N_BLOCKS, 0.4)[:, None, None]
    repeats = repeats_of(n_neurons=10, seed=seed, gain=ramp(40, 0.4))
    found = inspect_recording(recording_from_arrays(**train_of(fading, seed), **repeats))
    stimulus = found.stimuli[0]
    for drift in (stimulus.over_blocks, stimulus.over_trials):
        assert drift.drifts.all()
        # mean of 10 neurons, each known to about 6 %
        assert drift.change.mean() == pytest.approx(-0.4, abs=0.06)
    assert stimulus.over_blocks.first_fifth.mean() == pytest.approx(50 * 1.16, rel=0.03)
    assert stimulus.over_blocks.last_fifth.mean() == pytest.approx(50 * 0.84, rel=0.03)
    assert not stimulus.onset.differs.any()
    assert "drift: 10 of 10 neurons" in found.text()


def test_firing_more_when_a_block_begins_is_shown_apart_from_drift():
    rate = flat()
    rate[:, : N_BINS // 10] *= 2
    found = only(recording_from_arrays(**train_of(rate)))
    assert found.onset.n_blocks == N_BLOCKS
    assert found.onset.ratio.mean() == pytest.approx(2 / 1.1, rel=0.03)
    assert found.onset.differs.all()
    assert not found.over_blocks.drifts.any()


def test_one_long_block_is_cut_into_segments_to_show_drift():
    fading = 0.3 * np.linspace(1.3, 0.7, 8000)[None, :, None] * np.ones(2)
    found = only(recording_from_arrays(**train_of(fading)))
    assert found.over_blocks.over == "10 segments of about 8 s"
    assert found.over_blocks.drifts.all()
    assert found.onset is None
    assert "blocks" in found.reasons["onset"]


def test_held_out_blocks_take_their_place_in_the_session_only_if_clocks_agree():
    heldout = train_of(flat(2)[:5], seed=3)
    separate = {f"heldout_{k}": v for k, v in heldout.items() if k != "bin_width"}
    recording = recording_from_arrays(**train_of(flat(2)), **separate)  # both begin at 0 s
    assert only(recording).over_blocks.over == "40 blocks"
    assert only(sample_recording()).over_blocks.over == "50 blocks"


def test_the_ceiling_is_that_of_the_noise_put_in_and_no_reliability():
    rng = np.random.default_rng(1)
    n_trials, signal, noise = 10, 1.0, 4.0
    shared = rng.normal(0, np.sqrt(signal), (20_000, 2))
    traces = shared + rng.normal(0, np.sqrt(noise), (n_trials, 20_000, 2))
    recording = recording_from_arrays(
        frames(50),
        np.ones((50, 2)),
        bin_width=WIDTH,
        kind="trace",
        test_stimulus=frames(20_000, 1),
        test_counts=traces,
    )
    found = only(recording).ceilings
    reliable = signal / (signal + noise / n_trials)
    # 20,000 bins: errors of all of these are below 0.01
    assert found.explainable_fraction == pytest.approx(signal / (signal + noise), abs=0.01)
    assert found.reliability_interleaved == pytest.approx(reliable, abs=0.01)
    assert found.reliability_first_second == pytest.approx(reliable, abs=0.01)
    assert found.cc_max == pytest.approx(np.sqrt(reliable), abs=0.01)
    assert found.cc_max_interleaved == pytest.approx(np.sqrt(reliable), abs=0.01)
    assert found.passes_gate.all()


def test_a_single_repeat_has_no_ceilings_and_says_why():
    recording = recording_from_arrays(**train_of(flat(3)), **repeats_of(n_trials=1))
    found = inspect_recording(recording)
    assert found.stimuli[0].ceilings is None
    assert "test holds one trial only" in found.text()
    row = next(line for line in found.text().split("\n") if line.startswith("  0 "))
    assert row.split()[2:6] == ["–"] * 4


def test_without_a_test_there_are_no_ceilings_and_no_warnings():
    found = inspect_recording(recording_from_arrays(**train_of(flat(2))))
    assert found.stimuli[0].reasons["ceilings"] == "no repeated test"
    assert found.errors == ()


@pytest.mark.parametrize("n_trials", [2, 3])
def test_few_repeats_have_ceilings_but_no_trend(n_trials):
    recording = recording_from_arrays(**train_of(flat(3)), **repeats_of(n_trials=n_trials))
    found = only(recording)
    assert np.isfinite(found.ceilings.cc_max).all()
    assert found.over_trials is None
    assert (found.ceilings.passes_gate is None) == (n_trials == 2)  # no error with two trials


def test_a_silent_neuron_is_named_and_its_numbers_are_dashes():
    data, repeats = train_of(flat(3)), repeats_of()
    data["counts"][:, 1] = 0
    repeats["test_counts"][..., 1] = 0
    found = inspect_recording(recording_from_arrays(**data, **repeats, neurons=["u1", "u2", "u3"]))
    assert found.stimuli[0].silent.tolist() == [False, True, False]
    row = next(line for line in found.text().split("\n") if line.startswith("  u2 "))
    assert row.split(maxsplit=7) == [
        *("u2", "0.0", "–", "–", "–", "–", "–"),
        "silent: fitted, but fails the gate",
    ]
    assert any("u2 is silent" in note.what for note in found.notes)
    assert not found.errors


def test_a_trial_cut_short_is_no_drift():
    """The second half of the movie fires ten times more; the last trials end before it."""
    rng = np.random.default_rng(0)
    rate = np.repeat([0.1, 1.0], 500)[:, None] * np.ones(4)
    trials = [rng.poisson(rate if i < 20 else rate[:500]) for i in range(30)]
    recording = recording_from_arrays(
        **train_of(flat(4)), test_stimulus=frames(1000, 5), test_counts=trials
    )
    found = only(recording)
    assert found.ceilings.ragged
    assert not found.over_trials.drifts.any()


@pytest.mark.parametrize(("stored", "used"), [(0.003, 0.012), (0.025, 0.025), (0.005, 0.010)])
def test_bins_are_10_ms_or_the_next_multiple_of_those_stored(stored, used):
    data = train_of(flat(2))
    found = inspect_recording(recording_from_arrays(**{**data, "bin_width": stored}))
    assert found.bin_width == pytest.approx(used)
    rate = data["counts"].mean(axis=0) / stored
    # incomplete last bins of a block are dropped: 200 bins leave at most 3 of them
    assert found.stimuli[0].rate == pytest.approx(rate, rel=0.02)


def test_errors_come_first_and_the_rest_is_shown():
    data = train_of(flat(2))
    data["counts"][5, 1] = -1
    found = inspect_recording(recording_from_arrays(**data, **repeats_of(n_neurons=2)))
    assert [error.where for error in found.errors] == ["/stimulus/train/response"]
    lines = found.text().split("\n")
    assert lines[1].startswith("1 error: ")
    assert "negative counts" in lines[2]
    assert found.errors[0].remedy in lines[3]
    assert np.isfinite(found.stimuli[0].ceilings.cc_max).all()


@pytest.mark.parametrize("missing", ["block", "response"])
def test_a_role_that_cannot_be_read_is_left_out_and_named(missing):
    recording = recording_from_arrays(**train_of(flat(2)), **repeats_of(n_neurons=2))
    train = recording.tree["/stimulus/train"].to_dataset(inherit=False)
    broken = with_node(recording, "/stimulus/train", train.drop_vars(missing))
    found = inspect_recording(broken)
    assert any(error.where.endswith(missing) for error in found.errors)
    assert found.unreadable == ("/stimulus/train",)
    assert found.stimuli[0].rate_from == "test"
    assert np.isfinite(found.stimuli[0].ceilings.cc_max).all()


def test_if_nothing_can_be_read_the_errors_are_still_shown():
    recording = recording_from_arrays(**train_of(flat(2)))
    train = recording.tree["/stimulus/train"].to_dataset(inherit=False)
    found = inspect_recording(with_node(recording, "/stimulus/train", train.drop_vars("block")))
    assert found.stimuli == ()
    assert "/stimulus/train/block: is missing" in found.text()
    assert found.to_dict()["bin_width"] is None


def test_infinite_responses_are_an_error_and_the_other_neurons_are_shown():
    traces = np.random.default_rng(0).normal(size=(20, 50, 2))
    traces[3, 7, 0] = np.inf
    recording = recording_from_arrays(
        frames(50),
        traces[0],
        bin_width=WIDTH,
        kind="trace",
        test_stimulus=frames(50, 1),
        test_counts=traces,
    )
    found = inspect_recording(recording)
    assert found.errors
    assert np.isfinite(found.stimuli[0].ceilings.explainable_fraction[1])


def test_every_stimulus_has_a_section_of_its_own():
    roles = {}
    for i, name in enumerate(("bars", "natural")):
        counts = np.full((100, 2), i + 1)
        shown = np.arange(100)
        role = build_role(frames(100, i), counts, bin_width=WIDTH, frame_of_bin=shown)
        roles[name] = {"train": role}
    found = inspect_recording(build_recording(roles))
    assert [item.name for item in found.stimuli] == ["bars", "natural"]
    assert [item.rate.tolist() for item in found.stimuli] == [[100, 100], [200, 200]]
    lines = found.text().split("\n")
    assert lines.index("bars   2 (y) x 2 (x) px") < lines.index("natural   2 (y) x 2 (x) px")


def test_columns_align_whatever_the_script_of_the_ids():
    names = ["a", "神経元", "e\u0301tage", "Zelle-10"]
    columns = [1, 6, 5, 8]  # of a terminal: wide letters take two, the combining accent none
    found = inspect_recording(
        recording_from_arrays(**train_of(flat(4)), neurons=names, **repeats_of(n_neurons=4))
    )
    lines = [line[2:] for line in found.text().split("\n")]
    rows = [next(line for line in lines if line.startswith(name + " ")) for name in names]
    ends = [
        row.index("(") - len(name) + width
        for row, name, width in zip(rows, names, columns, strict=True)
    ]
    assert len(set(ends)) == 1  # the CC_max in brackets begins in one column


def test_a_movie_larger_than_memory_is_never_read_whole():
    class OnDisk:
        shape, dtype, largest = (6000, 100, 100), np.dtype("u1"), 0

        def __getitem__(self, key):
            n = len(range(*key[0].indices(self.shape[0])))
            self.largest = max(self.largest, n * 10_000)
            return np.random.default_rng(n).integers(0, 255, (n, 100, 100), dtype="u1")

    disk = OnDisk()
    movie = lazy_variable(("frame", "y", "x"), disk)
    counts = np.random.default_rng(0).poisson(0.2, (6000, 2))
    role = build_role(movie, counts, bin_width=WIDTH, frame_of_bin=np.arange(6000))
    inspect_recording(build_recording({"movie": {"train": role}}))
    assert 0 < disk.largest <= SLAB_BYTES < 6000 * 10_000


def test_the_bundled_recording_as_measured_by_hand():
    found = inspect_recording(sample_recording())
    cells = found.stimuli[0].ceilings
    assert found.bin_width == 0.01
    assert ((cells.cc_max > 0.9685) & (cells.cc_max < 0.9795)).all()
    assert (cells.reliability_first_second < cells.reliability_interleaved).all()  # cells drift
    assert cells.passes_gate.all()
    assert found.stimuli[0].over_trials.drifts[0]
    assert found.stimuli[0].over_blocks.drifts[0]
    assert not found.errors
    text = found.text()
    for said in (
        "6 neurons",
        "31 (y) x 1 (x) px at 60 Hz",
        "27 min 0 s",
        "6.67 s x 54",
        "rate (Hz)",
    ):
        assert said in text
    assert "warning" not in text
    assert "none irregular" in text
    assert found.stimuli[0].overlap == "no stretch of test or heldout is in train"
    assert max(len(line) for line in text.split("\n")) < 130


def test_json_holds_everything_and_reads_back_the_same():
    data = train_of(flat(3))
    data["counts"][:, 0] = 0
    found = inspect_recording(recording_from_arrays(**data, **repeats_of(n_trials=2)))
    values = found.to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    stimulus = values["stimuli"][0]
    assert stimulus["rate"] == found.stimuli[0].rate.tolist()
    assert stimulus["over_blocks"]["change"][0] is None  # silent: no mean to compare with
    assert stimulus["over_trials"] is None
    assert values["notes"][0].keys() == {"severity", "where", "what", "remedy"}


def test_gain_over_trials_is_that_put_in_and_a_rise_of_the_baseline_is_none():
    rng = np.random.default_rng(0)
    rate, fall = rng.gamma(1.0, 0.5, (600, 4)), ramp(40, 0.4)[:, None, None]
    fading = gain_over_trials(rng.poisson(rate * fall))
    assert fading.drifts.all()
    assert fading.change.mean() == pytest.approx(-0.4, abs=0.05)
    rising = gain_over_trials(rng.poisson(rate + 0.5 * (2 - fall)))
    assert not rising.drifts.any()
    assert gain_over_trials(rng.poisson(rate, (5, 600, 4))) == "fewer than 8 trials"


def test_spikes_that_come_too_soon_are_counted_within_blocks():
    """Neuron 0 fires pairs 1 ms apart, neuron 1 doubles within a bin, neuron 2 every 5 ms."""
    counts = np.zeros((1000, 3), int)
    counts[10::20, 0] = counts[11::20, 0] = 1
    counts[10::20, 1] = 2
    counts[4::5, 2] = 1
    counts[499, 0] = counts[500, 0] = 1  # a block ends between them
    blocks = np.repeat([0, 1], 500)
    data = {"stimulus": frames(1000), "counts": counts, "blocks": blocks, "bin_width": 0.001}
    found = only(recording_from_arrays(**data)).refractory
    assert found.within == (0.001, 0.002)
    assert found.share_one == pytest.approx([0, 0.5, 0])
    assert found.share_two == pytest.approx([50 / 102, 0.5, 0])
    assert found.violates.tolist() == [False, True, False]  # 2 ms may be a short refractory period
    assert "refractory violations" in inspect_recording(recording_from_arrays(**data)).text()
    wide = inspect_recording(recording_from_arrays(**{**data, "bin_width": 0.01}), alignment=False)
    assert "bins of 10 ms are too wide" in wide.text()


def test_statistics_of_a_movie_are_those_of_how_it_was_made():
    rng = np.random.default_rng(0)
    movie = np.repeat(rng.integers(0, 2, (1000, 6, 4, 5)), 3, axis=2).repeat(3, axis=3)[:, 0]
    movie = np.repeat(movie, 4, axis=0).astype("u1") * 200  # 4 frames, 3 pixels wide
    counts = rng.poisson(0.2, (4000, 1))
    found = only(recording_from_arrays(movie, counts, bin_width=WIDTH)).statistics
    assert (found.low, found.high, found.levels) == (0, 200, 2)
    assert found.mean == pytest.approx(100, rel=0.02)
    assert found.contrast == pytest.approx(1, rel=0.02)
    # A step of length n falls to one half after n / 2 samples.
    assert found.correlation_time == pytest.approx(2 * WIDTH, rel=0.1)
    assert found.correlation_space == pytest.approx(1.5, rel=0.1)
    assert not found.is_clipped
    assert found.n_frames == 4000
    levels = np.clip(rng.normal(128, 80, (500, 8, 8)), 0, 255).astype("u1")
    grey = recording_from_arrays(levels, counts[:500], bin_width=WIDTH)
    assert only(grey).statistics.is_clipped
    assert "clipped" in inspect_recording(grey, alignment=False).text()


def test_irregular_frames_are_counted_and_the_worst_is_placed():
    onsets = np.arange(600) / 60.0
    onsets[100:] += 1 / 60  # one dropped frame
    onsets[400:] += 3 / 60  # three in a row
    recording = recording_from_arrays(
        frames(600), spike_times=[np.arange(0.05, 9, 0.1)], frame_times=onsets
    )
    found = inspect_recording(recording, alignment=False)
    timing = found.stimuli[0].frames
    assert (timing.n_irregular, timing.n_intervals) == (2, 599)
    assert timing.worst == pytest.approx(4 / 60)
    assert timing.worst_at == pytest.approx(onsets[399])
    assert (
        "2 (0.33 %) off by more than half a frame, the worst 66.67 ms at 6.66667 s" in found.text()
    )


def test_figures_are_written_for_what_there_is(tmp_path):
    found = inspect_recording(recording_from_arrays(**train_of(flat(3)), **repeats_of()))
    written = save_inspection_figures(found, tmp_path / "figures")
    names = ["rates", "reliability", "drift", "frame_intervals", "alignment"]
    assert [path.stem for path in written] == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_inspection_figures(found, tmp_path / "file")


def test_figures_of_a_recording_without_repeats_or_movie_times_leave_out_what_is_missing(tmp_path):
    found = inspect_recording(recording_from_arrays(**train_of(flat(2)[:3])), alignment=False)
    names = {path.stem for path in save_inspection_figures(found, tmp_path)}
    assert {"rates"} <= names
    assert not names & {"reliability", "alignment"}
