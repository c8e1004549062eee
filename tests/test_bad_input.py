"""Bad input: exit code 2, one message with file, variable and remedy, and nothing left behind."""

import os

import h5py
import numpy as np
import pytest
from command_line import CommandLine, finished, listing, start
from nwb_files import checkerboard, write_nwb
from small_fits import CONVEX, toml

import neuromodels as nm

LN = ["--model", "ln", *(f"--set={name}={value}" for name, value in CONVEX.items())]
N_BLOCKS, N_BINS, N_NEURONS = 12, 100, 2


@pytest.fixture
def run(capsys):
    return CommandLine(capsys)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    path = tmp_path_factory.mktemp("fitted") / "ln.h5"
    nm.fit(nm.recording_from_arrays(**arrays()), "ln", out=path, **CONVEX)
    return path


def arrays() -> dict:
    """Arguments of `recording_from_arrays`: noise that answers noise, valid as it stands."""
    rng = np.random.default_rng(3)
    n = N_BLOCKS * N_BINS
    return {
        "stimulus": rng.normal(size=(n, 3, 1)).astype(np.float32),
        "counts": rng.poisson(0.3, (n, N_NEURONS)),
        "blocks": np.repeat(np.arange(N_BLOCKS), N_BINS),
        "test_stimulus": rng.normal(size=(N_BINS, 3, 1)).astype(np.float32),
        "test_counts": rng.poisson(0.3, (6, N_BINS, N_NEURONS)),
        "bin_width": 0.010,
        "neurons": ["u1", "u2"],
    }


def write(path, **changes):
    return nm.recording_from_arrays(**arrays() | changes).to_hdf5(path)


# -- files that are no recording, or a broken one --------------------------------------------------


def truncated(path):
    write(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_hdf5(path):
    path.write_text("time,spikes\n0.1,3\n")


def missing(path):
    assert not path.exists()


def folder(path):
    path.mkdir()


def other_hdf5(path):
    with h5py.File(path, "w") as file:
        file["spikes"] = np.zeros(3)


def nwb_without_spikes(path):
    write_nwb(path, frames=checkerboard(300, 0), rate=30.0)


def nwb_without_stimulus(path):
    write_nwb(path, spike_times=[np.arange(0.05, 10, 0.1)])


def nwb_of_unequal_lengths(path):
    onsets = np.arange(310) / 30
    spikes = [np.arange(0.05, 10, 0.1)]
    write_nwb(path, frames=checkerboard(310, 0), timestamps=onsets, spike_times=spikes)
    # pynwb itself refuses to write fewer frames than times; other programs do not.
    with h5py.File(path, "r+") as file:
        movie = file["stimulus/presentation/movie"]
        attrs, frames = dict(movie["data"].attrs), movie["data"][:300]
        del movie["data"]
        movie["data"] = frames
        movie["data"].attrs.update(attrs)


def nan_frames(path):
    stimulus = arrays()["stimulus"]
    stimulus[500:510] = np.nan
    write(path, stimulus=stimulus)


def negative_counts(path):
    counts = arrays()["counts"]
    counts[205, 1] = -1
    write(path, counts=counts)


def counts_that_are_no_integers(path):
    write(path, counts=arrays()["counts"] * 0.5)


def frames_that_are_not_there(path):
    # Spikes go on for longer than the movie: somebody cut the frames in the file.
    write(path)
    with h5py.File(path, "r+") as file:
        file["stimulus/train/frame_of_bin"][-1] = 5000
        del file["stimulus/train/frame_of_bin"].attrs["sha256"]


def changed_after_it_was_written(path):
    write(path)
    with h5py.File(path, "r+") as file:
        file["stimulus/train/response"][3, 0] += 1


def empty_test(path):
    write(path, test_counts=np.zeros((0, N_BINS, N_NEURONS), dtype=int))


def constant_stimulus(path):
    write(path, stimulus=np.ones_like(arrays()["stimulus"]))


def rates_for_counts(path):
    given = arrays()
    changes = {name: given[name].astype(float) for name in ("counts", "test_counts")}
    write(path, kind="rate", **changes)


def test_clip_in_training(path):
    given = arrays()
    given["stimulus"][600:700] = given["test_stimulus"]
    write(path, stimulus=given["stimulus"])


test_clip_in_training.__test__ = False


def too_short(path):
    given = arrays()
    short = {name: given[name][:3] for name in ("stimulus", "counts", "blocks")}
    write(path, **short)


#: Maker of the file, what the message says of it, and whether `inspect` refuses it as well.
FILES = [
    (truncated, "damaged or truncated", True),
    (no_hdf5, "is a text file", True),
    (missing, "there is no such file", True),
    (folder, "is a folder", True),
    (other_hdf5, "unknown layout (holds spikes)", True),
    (nwb_without_spikes, "/units", True),
    (nwb_without_stimulus, "stimulus", True),
    (nwb_of_unequal_lengths, "300 frames", True),
    (nan_frames, "/stimulus/train/stimulus: holds NaN", True),
    (negative_counts, "/stimulus/train/response: holds 1 negative counts", True),
    (counts_that_are_no_integers, "counts that are no integers", True),
    (frames_that_are_not_there, "/stimulus/train/frame_of_bin: is 5000", True),
    (changed_after_it_was_written, "/stimulus/train/response: is damaged: it differs", True),
    (empty_test, "/stimulus/test/response: is empty", True),
    (test_clip_in_training, "/stimulus/test", True),
    (constant_stimulus, "stimulus: the stimulus never changes", False),
    (too_short, "too short to be split", False),
]
IDS = [make.__name__ for make, *_ in FILES]


def assert_one_message(err: str, path, what: str) -> None:
    lines = err.rstrip("\n").split("\n")
    assert len(lines) == 2, err
    assert lines[0].startswith(str(path)) and what in lines[0], err
    assert lines[1].startswith("  ") and len(lines[1]) > 12, "no remedy"
    for word in ("Traceback", "Error(", "Exception", "errno", "HDF5-DIAG"):
        assert word not in err


@pytest.mark.parametrize(("make", "what", "_"), FILES, ids=IDS)
def test_a_bad_recording_is_refused_in_one_message(run, tmp_path, make, what, _):
    path = tmp_path / ("cell.nwb" if make.__name__.startswith("nwb") else "cell.h5")
    make(path)
    config = tmp_path / "options.toml"
    config.write_text(toml({"ln": CONVEX}))
    before = listing(tmp_path)
    arguments = ("--models", "ln", "--config", config, "--out", tmp_path / "out.h5")
    result = run("compare", path, *arguments)
    assert (result.code, result.out) == (2, "")
    assert_one_message(result.err, path, what)
    assert listing(tmp_path) == before


def test_a_model_of_spikes_is_refused_for_rates_in_one_message(run, tmp_path):
    path = tmp_path / "cell.h5"
    rates_for_counts(path)
    before = listing(tmp_path)
    result = run("compare", path, "--models", "ln,glm", "--out", tmp_path / "out.h5")
    assert (result.code, result.out) == (2, "")
    assert_one_message(result.err, path, "glm: needs spike counts")
    assert listing(tmp_path) == before


@pytest.mark.parametrize(("make", "what", "refused"), FILES, ids=IDS)
def test_inspect_says_what_is_wrong(run, tmp_path, make, what, refused):
    path = tmp_path / ("cell.nwb" if make.__name__.startswith("nwb") else "cell.h5")
    make(path)
    result = run("inspect", path)
    assert result.code == (2 if refused else 0)
    assert "Traceback" not in result.out + result.err
    if refused:
        assert what in result.out + result.err
        # Opened in spite of its errors, a recording is shown; --quiet leaves the errors alone.
        quiet = run("inspect", path, "--quiet")
        assert (quiet.code, quiet.out) == (2, "")
        assert_one_message(quiet.err, path, what)


def test_all_errors_of_a_recording_are_told_at_once(run, tmp_path):
    given = arrays()
    given["stimulus"][500] = np.nan
    given["test_counts"][0, 0, 0] = -1
    path = write(tmp_path / "cell.h5", **given)
    result = run("fit", path, *LN, "--out", tmp_path / "out.h5")
    assert result.code == 2
    lines = result.err.rstrip("\n").split("\n")
    assert [line.startswith(str(path)) for line in lines] == [True, False, True, False]
    assert "NaN" in lines[0] and "negative" in lines[2]


def test_nothing_else_reaches_the_terminal_in_a_process_of_its_own(tmp_path):
    path = tmp_path / "cell.h5"
    truncated(path)
    result = finished(start("compare", path, "--out", "out.h5", cwd=tmp_path))
    assert (result.code, result.out) == (2, "")
    assert_one_message(result.err, path, "damaged or truncated")
    assert list(listing(tmp_path)) == ["cell.h5"]


# -- Python ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"stimulus": np.zeros((1199, 3, 1))}, "recording_from_arrays: stimulus"),
        ({"test_stimulus": np.zeros((99, 3, 1))}, "recording_from_arrays: test_stimulus"),
        ({"blocks": np.zeros(5, dtype=int)}, "recording_from_arrays: blocks"),
        ({"test_counts": np.zeros((6, N_BINS, 3), dtype=int)}, "test"),
    ],
)
def test_arrays_whose_lengths_disagree_are_refused_when_the_recording_is_made(changes, where):
    with pytest.raises(nm.InputError) as error:
        nm.recording_from_arrays(**arrays() | changes)
    assert where in str(error.value) and "\n  " in str(error.value)


# -- options that the recording cannot have --------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "what"),
    [
        ("ln", {"history": 2.0}, "history = 2 s, but the shortest block lasts 1 s"),
        ("glm", {"history": 0.1, "own_history": 2.0}, "looks back 2 s"),
        ("retina-cnn", {"history": 2.0}, "history = 2 s, but the shortest block lasts 1 s"),
        ("ln", {"history": 0.001}, "shorter than one bin"),
        ("ln", {"history": 0.05, "delay": 200}, "the shortest block lasts 1 s"),
        ("ln", {"history": 0.1, "rank": 40}, "rank = 40"),
    ],
)
def test_an_option_that_the_recording_cannot_have_leaves_nothing(
    run, tmp_path, model, options, what
):
    path = write(tmp_path / "cell.h5")
    before = listing(tmp_path)
    settings = [f"--set={name}={value}" for name, value in options.items()]
    result = run("fit", path, "--model", model, *settings, "--out", tmp_path / "out.h5")
    assert (result.code, result.out) == (2, "")
    lines = result.err.rstrip("\n").split("\n")
    assert what in lines[0] and model in lines[0] and len(lines) == 2, result.err
    assert listing(tmp_path) == before


def test_a_bad_option_of_the_last_model_is_found_before_the_first_is_fitted(run, tmp_path):
    path = write(tmp_path / "cell.h5")
    config = tmp_path / "options.toml"
    config.write_text(toml({"ln": CONVEX, "glm": {"history": 2.0}}))
    before = listing(tmp_path)
    result = run(
        "compare", path, "--models", "ln,glm", "--config", config, "--out", tmp_path / "out.h5"
    )
    assert (result.code, result.out) == (2, "")
    assert_one_message(result.err, path, "glm: history = 2 s")
    assert listing(tmp_path) == before


@pytest.mark.parametrize("width", [0, -0.01, 0.015, 1e-9, 5.0])
def test_a_bin_width_that_cannot_be_is_refused(run, tmp_path, width):
    path = write(tmp_path / "cell.h5")
    before = listing(tmp_path)
    result = run("fit", path, *LN, "--bin-width", width, "--out", tmp_path / "out.h5")
    assert (result.code, result.out) == (2, "")
    assert len(result.err.rstrip("\n").split("\n")) == 2 and "internal" not in result.err
    assert listing(tmp_path) == before


# -- outputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["fit", "compare", "predict"])
@pytest.mark.parametrize(
    ("out", "what"),
    [
        ("nowhere/out.h5", "there is no folder"),
        ("cell.h5/out.h5", "cannot be written"),  # below a file: not even root can write there
        ("results", "is a folder"),
        ("cell.h5", "exists already"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_at_once(
    run, fitted, tmp_path, monkeypatch, command, out, what
):
    path = write(tmp_path / "cell.h5")
    (tmp_path / "results").mkdir()
    config = tmp_path / "options.toml"
    config.write_text(toml({"ln": CONVEX}))
    before = listing(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = {
        "fit": [path, *LN],
        "compare": [path, "--models", "ln", "--config", config],
        "predict": [fitted, path],
    }[command]
    more = [] if command == "predict" or "exists" in what else ["--resume"]
    for flags in ([], more):
        result = run(command, *arguments, "--out", out, *flags)
        assert (result.code, result.out) == (2, "")
        assert_one_message(result.err, out, what)
        assert listing(tmp_path) == before


@pytest.mark.skipif(
    os.name == "nt" or getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write anywhere"
)
def test_a_folder_without_permission_is_refused_at_once(run, tmp_path):
    path = write(tmp_path / "cell.h5")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    result = run("fit", path, *LN, "--out", locked / "out.h5")
    assert result.code == 2
    assert_one_message(result.err, locked / "out.h5", "no permission")


@pytest.mark.parametrize(
    ("make", "what"),
    [(no_hdf5, "no HDF5"), (missing, "does not exist"), (write, "no fit, no comparison")],
)
def test_a_file_that_holds_no_fit_cannot_predict(run, tmp_path, make, what):
    path, fitted = write(tmp_path / "cell.h5"), tmp_path / "fit.h5"
    make(fitted)
    before = listing(tmp_path)
    result = run("predict", fitted, path, "--out", tmp_path / "p.h5")
    assert (result.code, result.out) == (2, "")
    assert_one_message(result.err, fitted, what)
    assert listing(tmp_path) == before


# -- notes are no errors ---------------------------------------------------------------------------


def test_a_silent_neuron_is_a_note(run, tmp_path):
    given = arrays()
    given["counts"][:, 1] = 0
    given["test_counts"][:, :, 1] = 0
    path = write(tmp_path / "cell.h5", **given)
    out = tmp_path / "out.h5"
    result = run("fit", path, *LN, "--out", out)
    assert (result.code, result.complaints) == (0, "")
    assert "note: " in result.out and "u2" in result.out and "silent" in result.out
    fit = nm.load(out)
    assert np.isfinite(fit.predictions["stimulus/test"]["rate"].values[10:]).all()
    scores = fit.scores["score"].squeeze()
    for metric in ("bits_per_spike", "pearson_r", "cc_norm"):
        assert np.isfinite(scores.sel(metric=metric, neuron="u1"))
        assert np.isnan(scores.sel(metric=metric, neuron="u2"))
    # The mean over cells is that of the cell that has a score.
    population = fit.scores["population"].sel(reduction="mean", part="value").squeeze()
    assert float(population.sel(metric="bits_per_spike")) == pytest.approx(
        float(scores.sel(metric="bits_per_spike", neuron="u1"))
    )


def test_a_single_repeat_is_a_note_and_its_ceilings_do_not_exist(run, tmp_path):
    path = write(tmp_path / "cell.h5", test_counts=arrays()["test_counts"][:1])
    out = tmp_path / "out.h5"
    result = run("fit", path, *LN, "--out", out)
    assert (result.code, result.complaints) == (0, "")
    assert "note: /stimulus/test/response: holds one repeat only" in result.out
    scores = nm.load(out).scores
    assert np.isnan(scores["ceiling"].values).all()
    assert np.isnan(scores["score"].sel(metric="cc_norm").values).all()
    reason = str(scores["reason"].sel(metric="cc_norm").values.squeeze())
    assert reason == "needs at least 2 repeats, the recording has 1"
    assert np.isfinite(scores["score"].sel(metric="bits_per_spike").values).all()


def test_a_recording_without_a_test_is_scored_on_held_out_blocks_alone(run, tmp_path):
    path = write(tmp_path / "cell.h5", test_stimulus=None, test_counts=None)
    out = tmp_path / "out.h5"
    result = run("fit", path, *LN, "--out", out)
    assert (result.code, result.complaints) == (0, "")
    scores = nm.load(out).scores
    assert np.isfinite(scores["score"].sel(metric="bits_per_spike").values).all()
    reason = str(scores["reason"].sel(metric="pearson_r").values.squeeze())
    assert reason == "the recording has no test data"
