"""The recording contract: roles, blocks and bins, from arrays and from a file."""

from fractions import Fraction

import numpy as np
import pytest
import xarray as xr

from neuromodels.datasets.arrays import recording_from_arrays
from neuromodels.datasets.blocks import Block
from neuromodels.datasets.building import build_recording, build_role
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import lazy_variable
from neuromodels.datasets.opening import open_recording
from neuromodels.datasets.recording import Recording


def movie(n_frames, seed=0, shape=(4, 3)):
    return np.random.default_rng(seed).integers(0, 255, (n_frames, *shape), dtype="u1")


def spikes(*shape, seed=1):
    return np.random.default_rng(seed).poisson(0.3, shape)


def two_blocks(n=25, **options):
    """25 bins of 10 ms at 30 Hz: blocks of 14 and 11 bins."""
    labels = np.repeat([7, 9], [14, 11])
    return recording_from_arrays(
        movie(8), spikes(n, 2), bin_width=0.01, frame_rate=30, blocks=labels, **options
    )


def test_wider_bins_sum_whole_groups_from_the_start_of_each_block():
    recording = two_blocks()
    fine = recording.train.response.values
    blocks = recording.at(0.04).blocks("train")
    assert [block.label for block in blocks] == [7, 9]
    assert [block.n_bins for block in blocks] == [3, 2]  # 14 // 4 and 11 // 4: the rest is dropped
    for block, start in zip(blocks, (0, 14), strict=True):
        for i, row in enumerate(block.response):
            first = start + 4 * i
            assert np.array_equal(row, fine[first : first + 4].sum(axis=0))
            assert block.time[i] == first / 100


def test_a_wide_bin_shows_the_frame_at_its_centre():
    recording = two_blocks()
    blocks = recording.at(0.04).blocks("train")
    centres = blocks[0].time + 0.02 + 1e-9
    assert np.array_equal(blocks[0].frame_of_bin, (centres * 30).astype(int))


def test_a_view_is_made_once_and_shares_its_movie():
    recording = two_blocks()
    view = recording.at(0.02)
    assert view is recording.at(Fraction(1, 50))
    assert view.at(0.01) is recording
    assert view.bin_width == 0.02
    assert view.stored_bin_width == 0.01
    assert view.train is view.train
    assert view.blocks("train")[0].frames is recording.blocks("train")[0].frames


def test_a_width_that_is_no_multiple_is_refused_with_the_nearest_one():
    with pytest.raises(InputError, match=r"nearest one is 0\.02 s"):
        two_blocks().at(0.018)


def test_a_view_as_dataset_says_its_exact_bin_width():
    attrs = two_blocks().at(0.03).train.time.attrs
    assert (attrs["bin_width_numerator"], attrs["bin_width_denominator"]) == (3, 100)
    assert attrs["units"] == "s"


def test_rates_are_averaged_not_summed():
    rates = np.arange(8.0).reshape(8, 1)
    recording = recording_from_arrays(movie(8), rates, bin_width=0.01, kind="rate")
    assert recording.at(0.04).blocks("train")[0].response.ravel().tolist() == [1.5, 5.5]


def test_the_movie_of_a_block_is_what_was_on_screen():
    frames, recording = movie(8), two_blocks()
    block = recording.blocks("train")[1]
    onsets = np.arange(8) / 30
    for i, t in enumerate(block.time):
        expected = np.searchsorted(onsets, t + 0.005, side="right") - 1
        assert np.array_equal(block.movie(i, i + 1)[0, 0], frames[expected])
    assert block.movie().shape == (11, 1, 4, 3)
    assert block.movie().dtype == np.uint8


def test_bins_without_a_frame_show_the_background():
    recording = recording_from_arrays(
        movie(4) // 2 + 1,
        spikes(10, 1),
        bin_width=0.01,
        frame_times=[0.02, 0.04, 0.06, 0.08],
        background=77,
    )
    shown = recording.blocks("train")[0].movie()
    assert (shown[:2] == 77).all()
    assert np.array_equal(shown[2, 0], movie(4)[0] // 2 + 1)


def test_changing_a_movie_does_not_change_the_recording():
    block = two_blocks().blocks("train")[0]
    block.movie()[:] = 0
    assert block.movie().any()


def test_a_cut_is_a_block_of_its_own_without_copies():
    block = two_blocks().blocks("train")[0]
    part = block.cut(3, 9, label=1)
    assert (part.label, part.n_bins, part.n_trials) == (1, 6, 1)
    assert np.array_equal(part.movie(), block.movie(3, 9))
    assert np.shares_memory(part.response, block.response)


def test_ragged_trials_are_float_with_nan_and_whole_ones_integers():
    trials = [spikes(20, 2, seed=i)[: 20 - 5 * (i == 2)] for i in range(3)]
    recording = two_blocks(test_stimulus=movie(6, seed=5), test_counts=trials, neurons=["a", "b"])
    block = recording.blocks("test")[0]
    assert block.response.dtype == np.float32
    assert block.n_trials == 3
    for i, trial in enumerate(trials):
        assert np.array_equal(block.response[i, : len(trial)], trial)
    assert np.isnan(block.response[2, 15:]).all()
    wide = recording.at(0.02).blocks("test")[0].response
    assert np.isnan(wide[2, 7]).all()  # half of that bin was not recorded
    assert wide[2, 6, 0] == trials[2][12:14, 0].sum()
    assert recording.blocks("train")[0].response.dtype == np.int32


def test_several_test_movies_follow_one_another_as_blocks():
    movies = [movie(10, seed=5), movie(6, seed=6)]
    counts = [spikes(4, 10, 2), spikes(7, 6, 2, seed=2)]
    recording = recording_from_arrays(
        movie(20), spikes(20, 2), bin_width=0.1, test_stimulus=movies, test_counts=counts
    )
    blocks = recording.blocks("test")
    assert [block.response.shape for block in blocks] == [(4, 10, 2), (7, 6, 2)]
    for block, frames, count in zip(blocks, movies, counts, strict=True):
        assert np.array_equal(block.movie()[:, 0], frames)
        assert np.array_equal(block.response, count)
    assert (np.diff(recording.test.time) > 0).all()
    assert recording.validate().errors == ()


def test_spike_times_become_counts_of_1_ms_and_none_is_lost():
    rng = np.random.default_rng(3)
    times = [np.sort(rng.uniform(-0.1, 2.2, 500)), np.array([])]
    recording = recording_from_arrays(movie(60), spike_times=times, frame_rate=30)
    assert recording.bin_width == 0.001
    inside = (times[0] >= 0) & (times[0] < 2)
    assert recording.train.response.values.sum(axis=0).tolist() == [inside.sum(), 0]
    assert recording.train.attrs["spikes_outside"].tolist() == [500 - inside.sum(), 0]
    assert any("outside" in note.what for note in recording.validate().notes)


def test_spike_times_of_trials_are_relative_to_their_start():
    trials = [[np.array([0.0005, 0.1])], [np.array([0.1005])]]
    recording = recording_from_arrays(
        movie(60),
        spike_times=[np.array([0.5])],
        frame_rate=30,
        test_stimulus=movie(6, seed=4),
        test_spike_times=trials,
    )
    response = recording.test.response.values
    assert response.shape == (2, 200, 1)
    assert np.argwhere(response)[:, :2].tolist() == [[0, 0], [0, 100], [1, 100]]


def test_stretches_of_spike_times_become_blocks():
    recording = recording_from_arrays(
        movie(60),
        spike_times=[np.array([0.5, 1.2, 1.8])],
        frame_rate=30,
        blocks=[(0.0, 1.0), (1.5, 2.0)],
        bin_width=0.01,
    )
    blocks = recording.blocks("train")
    assert [block.n_bins for block in blocks] == [100, 50]
    assert blocks[1].time[0] == 1.5
    assert blocks[1].frame_of_bin[0] == 45


@pytest.mark.parametrize(
    ("frames", "expected"),
    [((9,), (1, 1, 1)), ((9, 5), (1, 5, 1)), ((9, 5, 4), (1, 5, 4)), ((9, 2, 5, 4), (2, 5, 4))],
)
def test_full_field_bars_grey_and_channels_are_all_movies(frames, expected):
    stimulus = np.random.default_rng(0).random(frames)
    recording = recording_from_arrays(stimulus, spikes(9, 1), bin_width=0.01)
    shown = recording.blocks("train")[0].movie()
    assert shown.shape == (9, *expected)
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown.ravel(), stimulus.ravel(), rtol=1e-7)


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"counts": spikes(24, 2)}, "stimulus"),
        ({"counts": spikes(25)}, "counts"),
        ({"counts": None}, "counts, spike_times"),
        ({"bin_width": None}, "bin_width"),
        ({"bin_width": -1}, "bin_width"),
        ({"blocks": np.zeros(3)}, "blocks"),
        ({"frame_times": [0.1]}, "frame_times"),
        ({"frame_rate": 400}, "stimulus"),
        ({"frame_rate": -1}, "frame_rate"),
        ({"kind": "spikes"}, "kind"),
        ({"neurons": ["a"]}, "neurons"),
        ({"test_counts": spikes(3, 25, 2)}, "test_stimulus"),
        ({"test_stimulus": movie(25)}, "test_counts"),
        ({"test_stimulus": movie(25), "test_counts": spikes(3, 25, 4)}, "test/response"),
        ({"test_stimulus": movie(25), "test_counts": spikes(3, 20, 2)}, "test_stimulus"),
        ({"test_stimulus": movie(25, shape=(4, 4)), "test_counts": spikes(3, 25, 2)}, "test"),
        ({"test_stimulus": [movie(25)], "test_counts": spikes(3, 25, 2)}, "test_counts"),
        (
            {
                "test_stimulus": [movie(25), movie(9, shape=(4, 4))],
                "test_counts": [spikes(3, 25, 2), spikes(3, 9, 2)],
            },
            "test_stimulus",
        ),
        ({"heldout_stimulus": movie(25)}, "heldout_counts"),
        ({"repeats_stimulus": movie(25)}, "repeats_counts"),
    ],
)
def test_arguments_that_disagree_are_refused_by_name(change, argument):
    options = {"stimulus": movie(25), "counts": spikes(25, 2), "bin_width": 0.01} | change
    with pytest.raises(InputError) as error:
        recording_from_arrays(options.pop("stimulus"), **options)
    assert argument in error.value.where


def test_arguments_are_not_changed():
    stimulus, counts = movie(25).astype(float), spikes(25, 2).astype(float)
    before = stimulus.copy(), counts.copy()
    recording_from_arrays(stimulus, counts, bin_width=0.01).at(0.02).blocks("train")[0].movie()
    assert np.array_equal(stimulus, before[0])
    assert np.array_equal(counts, before[1])


def test_the_identity_follows_the_data():
    assert two_blocks().identity == two_blocks().identity
    assert two_blocks().identity != two_blocks(neurons=["a", "b"]).identity
    other = recording_from_arrays(movie(8, seed=1), spikes(8, 1), bin_width=0.01)
    same = recording_from_arrays(movie(8, seed=1), spikes(8, 1), bin_width=0.01)
    assert other.identity == same.identity != two_blocks().identity


def test_repeats_may_have_no_known_stimulus():
    recording = two_blocks(repeats_counts=spikes(5, 30, 2))
    block = recording.blocks("repeats")[0]
    assert block.response.shape == (5, 30, 2)
    with pytest.raises(InputError, match="has no stimulus"):
        block.movie()
    assert recording.validate().errors == ()


def test_asking_for_what_is_not_there_names_what_is():
    recording = two_blocks()
    with pytest.raises(InputError, match="It has: train"):
        recording.blocks("test")
    with pytest.raises(InputError, match="Choose one of: stimulus"):
        recording.role("train", "movies")


def several_stimuli() -> Recording:
    roles = {}
    for i, name in enumerate(("bars", "noise")):
        shape = (4, 3) if name == "bars" else (6, 6)
        train = build_role(
            movie(30, seed=i, shape=shape),
            spikes(30, 2),
            bin_width=0.01,
            frame_of_bin=np.arange(30),
        )
        roles[name] = {"train": train}
    return build_recording(roles, neurons=["a", "b"], unit_metadata={"depth": [1.0, 2.0]})


def test_several_stimuli_are_asked_for_by_name():
    recording = several_stimuli()
    assert recording.stimuli == ("bars", "noise")
    with pytest.raises(InputError, match="bars, noise"):
        _ = recording.train
    assert recording.role("train", "noise").sizes["y"] == 6
    assert recording.tree.coords["depth"].values.tolist() == [1.0, 2.0]
    assert "noise/train" in repr(recording)


def test_a_recording_comes_back_from_its_file_identical(tmp_path):
    trials = [spikes(20, 2, seed=i)[: 20 - 5 * (i == 2)] for i in range(3)]
    recording = two_blocks(
        test_stimulus=movie(6, seed=5),
        test_counts=trials,
        repeats_counts=spikes(5, 30, 2),
        neurons=["α", "b"],
        attrs={"species": "mouse", "anaesthetised": False, "rig": {"display": "OLED"}},
    )
    back = open_recording(recording.to_hdf5(tmp_path / "r.h5"))
    xr.testing.assert_identical(back.tree.load(), recording.tree)
    assert back.neurons.tolist() == ["α", "b"]
    assert back.identity == recording.identity
    for role in recording.roles():
        for a, b in zip(back.blocks(role), recording.blocks(role), strict=True):
            np.testing.assert_array_equal(a.response, b.response)


def test_frames_of_a_large_movie_are_read_only_where_a_block_needs_them(monkeypatch):
    monkeypatch.setattr("neuromodels.datasets.frames.KEEP_BELOW_BYTES", 0)
    frames, reads = movie(1000), []

    class Source:
        shape, dtype = frames.shape, frames.dtype

        def __getitem__(self, key):
            reads.append(key[0])
            return frames[key]

    source = lazy_variable(("frame", "y", "x"), Source())
    node = build_role(source, spikes(1000, 1), bin_width=0.01, frame_of_bin=np.arange(1000))
    recording = build_recording({"m": {"train": node}}, identity="a file")
    block = recording.blocks("train")[0].cut(500, 520)
    assert reads == []
    assert np.array_equal(block.movie()[:, 0], frames[500:520])
    assert reads == [slice(500, 520, 1)]


def test_a_small_movie_is_read_once(tmp_path):
    back = open_recording(two_blocks().to_hdf5(tmp_path / "r.h5"))
    first, second = back.blocks("train")
    first.movie()
    kept = first.frames[:]
    assert np.shares_memory(kept, second.frames[:])


def test_blocks_can_be_made_by_hand_for_a_model_of_ones_own():
    frames = movie(5)[:, None]
    block = Block(
        label=0,
        time=np.arange(5) * 0.1,
        response=spikes(5, 1),
        frame_of_bin=np.arange(5),
        frames=frames,
    )
    assert np.array_equal(block.movie(1, 3), frames[1:3])


def test_covariates_follow_the_bins():
    running = np.arange(24.0).reshape(12, 2)
    node = build_role(
        movie(12),
        spikes(12, 1),
        bin_width=0.01,
        frame_of_bin=np.arange(12),
        covariates=running,
        covariate_names=["speed", "pupil"],
    )
    recording = build_recording({"m": {"train": node}})
    wide = recording.at(0.03).blocks("train")[0].covariates
    np.testing.assert_allclose(wide, running.reshape(4, 3, 2).mean(axis=1))


def test_the_short_description_says_what_is_in_it():
    recording = two_blocks(attrs={"species": "mouse", "area": "retina"})
    lines = repr(recording).splitlines()
    assert lines[0] == "arrays   mouse, retina   2 neurons   10 ms bins   4 (y) x 3 (x) px at 30 Hz"
    assert lines[1].split() == ["train", "0.25", "s", "2", "blocks"]
    assert "<table>" in recording._repr_html_()
