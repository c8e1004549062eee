"""A Kilosort/Phy folder becomes the recording that Phy showed: its ids, its labels, seconds."""

import neo
import numpy as np
import pytest
from sorting_files import SAMPLE_RATE, spike_samples, write_phy, write_tsv

from neuromodels.datasets.beside import BESIDE_OPTIONS
from neuromodels.datasets.errors import RecordingError
from neuromodels.datasets.formats import kilosort
from neuromodels.datasets.opening import open_recording
from neuromodels.datasets.spikes import recording_from_spikes

SECONDS = 30.0
FRAME_RATE = 30.0
GROUPS = {2: "good", 5: "mua", 11: "good", 40: "noise"}


@pytest.fixture
def samples():
    """Ids with gaps, as exclusion and merging leave them."""
    return spike_samples({2: 300, 5: 200, 11: 150, 40: 90}, SECONDS)


@pytest.fixture
def movie():
    rng = np.random.default_rng(3)
    return rng.integers(0, 2, (int(SECONDS * FRAME_RATE), 4, 4)).astype(np.uint8)


@pytest.fixture
def opened(movie, tmp_path):
    """Open the folder with a movie that begins at 0 s."""

    def open_folder(**options):
        given = {"stimulus": movie, "frame_rate": FRAME_RATE, "start": 0.0, "test": "none"}
        return open_recording(tmp_path / "phy", **{**given, **options})

    return open_folder


def notes(recording):
    return " | ".join(recording.attrs["notes"])


def counts(recording):
    return recording.train["response"].sum("time").values.tolist()


def refused(opened, match, **options):
    with pytest.raises(RecordingError, match=match) as error:
        opened(**options)
    return error.value


def test_good_units_come_with_the_ids_of_phy_and_every_spike_in_its_bin(samples, opened, tmp_path):
    write_phy(tmp_path / "phy", samples, groups=GROUPS)
    recording = opened()
    assert recording.neurons.tolist() == ["2", "11"]
    expected = [np.bincount(samples[c] // (SAMPLE_RATE // 1000), minlength=30_000) for c in (2, 11)]
    np.testing.assert_array_equal(recording.train["response"].values, np.transpose(expected))
    assert "cluster_group.tsv, column group: 2 good, 1 mua, 1 noise, 0 unsorted" in notes(recording)
    assert recording.attrs["sampling_rate"] == SAMPLE_RATE
    assert recording.validate().errors == ()


def test_neo_reads_the_same_units_from_the_folder(samples, opened, movie, tmp_path):
    folder = write_phy(tmp_path / "phy", samples, groups=GROUPS, column=False)
    segment = neo.io.PhyIO(dirname=str(folder)).read_segment()
    good = [train for train in segment.spiketrains if train.annotations["group"] == "good"]
    by_neo = recording_from_spikes(good, movie, frame_rate=FRAME_RATE, start=0.0, test="none")
    ours = opened()
    assert by_neo.neurons.tolist() == ours.neurons.tolist()
    np.testing.assert_array_equal(by_neo.train["response"].values, ours.train["response"].values)


def test_the_params_file_stands_for_its_folder(samples, opened, movie, tmp_path):
    folder = write_phy(tmp_path / "phy", samples, groups=GROUPS)
    by_file = open_recording(folder / "params.py", stimulus=movie, frame_rate=30, start=0)
    assert by_file.neurons.tolist() == opened().neurons.tolist()
    assert by_file.attrs["identity"] == opened().attrs["identity"]


@pytest.mark.parametrize("dtype", ["uint64", "int64", "int32", "float64"])
@pytest.mark.parametrize("column", [True, False])
def test_any_layout_of_whole_samples_is_read(samples, opened, tmp_path, dtype, column):
    write_phy(tmp_path / "phy", samples, groups=GROUPS, dtype=dtype, column=column)
    assert counts(opened()) == [300, 150]


def test_trap_templates_without_spikes_are_no_units(samples, opened, tmp_path):
    write_phy(tmp_path / "phy", samples, groups=GROUPS, n_templates=120)
    assert opened(labels="all").neurons.tolist() == ["2", "5", "11", "40"]


def test_trap_labels_follow_ids_not_rows(samples, opened, tmp_path):
    folder = write_phy(tmp_path / "phy", samples)
    rows = [(40, "noise"), (11, "good"), (5, "mua"), (2, "good")]  # not in the order of ids
    write_tsv(folder / "cluster_group.tsv", ["cluster_id", "group"], rows)
    info = [(40, 4.0, 400), (2, 0.2, 20), (11, 1.1, 110), (5, 0.5, 50)]
    write_tsv(folder / "cluster_info.tsv", ["cluster_id", "fr", "depth"], info)
    recording = opened(labels=["good", "MUA"])
    assert recording.neurons.tolist() == ["2", "5", "11"]
    assert recording.tree["group"].values.tolist() == ["good", "mua", "good"]
    assert recording.tree["depth"].values.tolist() == [20, 50, 110]
    assert recording.tree["n_spikes"].values.tolist() == [300, 200, 150]
    assert counts(recording) == [300, 200, 150]


def test_trap_merged_clusters_are_not_their_templates(samples, opened, tmp_path):
    # Clusters 5 and 11 were split from template 2, 40 was merged from elsewhere.
    folder = write_phy(tmp_path / "phy", samples, groups=GROUPS, templates={5: 2, 11: 2, 40: 7})
    assert counts(opened()) == [300, 150]
    (folder / "spike_clusters.npy").unlink()
    recording = opened(labels="all")
    assert recording.neurons.tolist() == ["2", "7"]
    assert counts(recording) == [650, 90]
    assert "there is no spike_clusters.npy" in notes(recording)


def test_trap_seconds_in_place_of_samples_are_refused(samples, opened, tmp_path):
    folder = write_phy(tmp_path / "phy", samples, groups=GROUPS)
    seconds = np.load(folder / "spike_times.npy") / SAMPLE_RATE
    np.save(folder / "spike_times.npy", seconds)
    error = refused(opened, "float64 values with fractions")
    assert "recording_from_spikes" in error.remedy
    assert "spike_times.npy" in error.where


def test_trap_samples_taken_for_seconds_do_not_reach_the_movie(samples, opened, tmp_path):
    # 30 kHz data with a nominal 1 kHz: spikes would lie up to 900 s, thirty times too late.
    write_phy(tmp_path / "phy", {2: samples[2] + SAMPLE_RATE * 2}, groups=GROUPS, sample_rate=1000)
    refused(opened, "no spike falls into the stimulus")


def test_trap_a_unit_without_spikes_is_left_out_aloud(samples, opened, tmp_path):
    write_phy(tmp_path / "phy", samples, groups={**GROUPS, 77: "good", 80: "noise"})
    recording = opened()
    assert recording.neurons.tolist() == ["2", "11"]
    assert "2 clusters listed but without spikes left out: 77, 80" in notes(recording)
    assert "2 good, 1 mua" in notes(recording)  # those with spikes


def test_crlf_blank_and_unsorted_rows_are_read(samples, opened, tmp_path):
    folder = write_phy(tmp_path / "phy", samples)
    path = write_tsv(
        folder / "cluster_group.tsv",
        ["cluster_id", "group"],
        [(40, "noise"), ("", ""), (11, " Good "), (2, "good"), (5, "")],
        ending="\r\n",
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n")
    recording = opened()
    assert recording.neurons.tolist() == ["2", "11"]
    assert "2 good, 0 mua, 1 noise, 1 unsorted" in notes(recording)


def test_unsorted_and_negative_samples_are_said(samples, opened, tmp_path):
    folder = write_phy(tmp_path / "phy", samples, groups=GROUPS, dtype="int64", column=False)
    times, clusters = (np.load(folder / f"spike_{n}.npy") for n in ("times", "clusters"))
    mixed = np.random.default_rng(1).permutation(times.size)
    times = np.append(times[mixed], [-20, -5])
    np.save(folder / "spike_clusters.npy", np.append(clusters[mixed], [2, 2]))
    for stored in (times, times.astype(np.uint64)):  # MATLAB exporters wrap negative numbers
        np.save(folder / "spike_times.npy", stored)
        recording = opened()
        assert counts(recording) == [300, 150]
        assert "2 spikes before the recording's start (first -20 samples)" in notes(recording)
        assert "not in order" in notes(recording)


def test_labels_of_kilosort_are_no_curation(samples, opened, tmp_path):
    folder = write_phy(tmp_path / "phy", samples)
    rows = [(2, "good"), (5, "good"), (11, "mua"), (40, "mua")]
    # Kilosort writes the same table under both names.
    for name in ("cluster_KSLabel.tsv", "cluster_group.tsv"):
        write_tsv(folder / name, ["cluster_id", "KSLabel"], rows)
    error = refused(opened, "nothing was curated")
    assert "labels_from='KSLabel'" in error.remedy
    assert "labels='all'" in error.remedy
    recording = opened(labels_from="KSLabel")
    assert recording.neurons.tolist() == ["2", "5"]
    assert "column KSLabel: 2 good, 2 mua" in notes(recording)
    assert "not set by a person" in notes(recording)
    assert opened(labels="all").neurons.size == 4
    # As soon as a person labels one cluster, that counts.
    header = ["cluster_id", "KSLabel", "group"]
    info = [(2, "good", "noise"), (5, "good", ""), (11, "mua", "good"), (40, "mua", "unsorted")]
    write_tsv(folder / "cluster_info.tsv", header, info)
    recording = opened()
    assert recording.neurons.tolist() == ["11"]
    assert "cluster_info.tsv, column group: 1 good, 0 mua, 1 noise, 2 unsorted" in notes(recording)
    assert recording.tree["KSLabel"].values.tolist() == ["mua"]


def test_all_unsorted_is_no_curation(samples, opened, tmp_path):
    write_phy(tmp_path / "phy", samples, groups=dict.fromkeys(samples, "unsorted"))
    error = refused(opened, "nothing was curated")
    assert "KSLabel" not in error.remedy


def test_two_tables_that_disagree_are_told(samples, opened, tmp_path):
    folder = write_phy(tmp_path / "phy", samples, groups=GROUPS)
    write_tsv(folder / "cluster_info.tsv", ["cluster_id", "group"], [(2, "good"), (11, "noise")])
    recording = opened()
    assert recording.neurons.tolist() == ["2", "11"]
    assert "disagree about 1 cluster (cluster 11: good, noise)" in notes(recording)


def test_the_rate_is_parsed_and_nothing_is_run(samples, opened, tmp_path):
    folder = write_phy(tmp_path / "phy", samples, groups=GROUPS)
    trace = tmp_path / "was_run"
    danger = f"open({str(trace)!r}, 'w').close()\nsample_rate = 30000.  # Hz\n"
    (folder / "params.py").write_text(danger)
    assert opened().attrs["sampling_rate"] == SAMPLE_RATE
    (folder / "params.py").write_text(f"sample_rate = {danger.splitlines()[0]}\n")
    refused(opened, "no plain number")
    assert not trace.exists()


def test_both_rates_must_agree(samples, opened, tmp_path):
    write_phy(tmp_path / "phy", samples, groups=GROUPS)
    refused(opened, "params.py says sample_rate = 30000", sampling_rate=25_000)
    # A rate that was measured against another clock differs by parts per million.
    recording = opened(sampling_rate=29_999.7)
    assert recording.attrs["sampling_rate"] == 29_999.7
    assert "as given" in notes(recording)


@pytest.mark.parametrize(
    ("stated", "given", "match"),
    [
        (None, None, "has no line sample_rate"),
        (30, None, "too few samples"),
        ("1e999", None, "is inf Hz"),
        (-30000, None, "is -30000 Hz"),
        (None, float("nan"), "is nan Hz"),
        (None, "fast", "no plain number"),
        ("[30000]", None, "no plain number"),
    ],
)
def test_a_rate_that_is_none_is_refused(samples, opened, tmp_path, stated, given, match):
    write_phy(tmp_path / "phy", samples, groups=GROUPS, sample_rate=stated)
    refused(opened, match, sampling_rate=given)


def test_without_params_the_rate_is_asked_for(samples, opened, tmp_path):
    folder = write_phy(tmp_path / "phy", samples, groups=GROUPS)
    (folder / "params.py").unlink()
    assert "sampling_rate=" in refused(opened, "counted in samples").remedy
    assert counts(opened(sampling_rate=SAMPLE_RATE)) == [300, 150]


def test_joined_recordings_go_to_their_own_times(opened, tmp_path):
    # Two recordings of 10 s, joined; on the stimulus clock they began at 1 s and at 16.5 s.
    second = 10 * SAMPLE_RATE
    samples = {3: np.array([0, 15_000, second - 30, second, second + 60_000])}
    write_phy(tmp_path / "phy", samples, groups={3: "good"})
    starts = [(0, 1.0), (second, 16.5)]
    for given in (starts, dict(starts), np.array(starts), "0:1.0,300000:16.5"):
        recording = opened(start_times=given)
        bins = np.flatnonzero(recording.train["response"].values[:, 0])
        np.testing.assert_array_equal(bins, [1000, 1500, 10_999, 16_500, 18_500])
    assert "sample 300000 at 16.5 s" in notes(recording)
    shifted = opened(start_times=2.5)
    bins = np.flatnonzero(shifted.train["response"].values[:, 0])
    np.testing.assert_array_equal(bins, [2500, 3000, 12_499, 12_500, 14_500])
    late = opened(start_times=[(15_000, 0.0)])
    assert counts(late) == [4]
    assert "1 spike before sample 15000" in notes(late)


@pytest.mark.parametrize(
    ("starts", "match"),
    [
        ([(0, 0.0), (300_000, 5.0)], "lasts until 10 s, but the one from sample 300000 begins"),
        ([(300_000, 0.0), (0, 20.0)], "do not ascend"),
        ([(0, np.nan)], "NaN"),
        ([(0.5, 1.0)], "no counts of samples"),
        ([0, 10, 20], "start_times"),
        ("soon", "start_times: is soon"),
        ("0:1,2", "start_times: is "),
        ([], "start_times"),
    ],
)
def test_start_times_that_cannot_be_are_refused(samples, opened, tmp_path, starts, match):
    write_phy(tmp_path / "phy", samples, groups=GROUPS)
    refused(opened, match, start_times=starts)


def test_names_of_files_are_looked_for_in_the_folder(samples, opened, movie, tmp_path):
    folder = write_phy(tmp_path / "phy", samples, groups=GROUPS)
    np.save(folder / "movie.npy", movie)
    np.save(folder / "frames.npy", 2.0 + np.arange(len(movie)) / FRAME_RATE)
    recording = opened(stimulus="movie.npy", frame_times="frames.npy", frame_rate=None, start=None)
    assert recording.train["time"].values[0] == 2.0
    np.testing.assert_array_equal(np.asarray(recording.train["stimulus"].values), movie)


def test_a_folder_without_a_stimulus_says_what_to_pass(samples, opened, tmp_path):
    write_phy(tmp_path / "phy", samples, groups=GROUPS)
    error = refused(opened, "do not say what was shown", stimulus=None, frame_rate=None, start=None)
    assert "stimulus=" in error.remedy


def test_no_unit_of_that_label_counts_what_there_is(samples, opened, tmp_path):
    write_phy(tmp_path / "phy", samples, groups={2: "mua", 5: "noise"})
    error = refused(opened, "no cluster is labelled good")
    assert "1 mua, 1 noise, 2 unsorted" in error.what
    refused(opened, "labels: is empty", labels="")
    refused(opened, "labels: is 3", labels=3)
    refused(opened, "labels_from: no table", labels_from="quality")


def damage_pickle(folder):
    np.save(folder / "spike_times.npy", np.array([{}], dtype=object), allow_pickle=True)


def damage_length(folder):
    np.save(folder / "spike_clusters.npy", np.load(folder / "spike_clusters.npy")[:-1])


def damage_size(folder):
    head = b"{'descr': '<u8', 'fortran_order': False, 'shape': (99999999999999,), }\n"
    raw = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(80)
    (folder / "spike_times.npy").write_bytes(raw)


def damage_cut(folder):
    raw = (folder / "spike_times.npy").read_bytes()
    (folder / "spike_times.npy").write_bytes(raw[: len(raw) // 2])


def damage_empty(folder):
    for name in ("times", "clusters"):
        np.save(folder / f"spike_{name}.npy", np.zeros(0, dtype=np.int64))


def damage_shape(folder):
    np.save(folder / "spike_times.npy", np.zeros((740, 2), dtype=np.int64))


def damage_nan(folder):
    times = np.load(folder / "spike_times.npy").astype(float)
    times[7] = np.nan
    np.save(folder / "spike_times.npy", times)


def damage_late(folder):
    times = np.load(folder / "spike_times.npy")
    times[-1] = 2**62
    np.save(folder / "spike_times.npy", times)


def damage_float32(folder):
    times = np.load(folder / "spike_times.npy") + 2**25
    np.save(folder / "spike_times.npy", times.astype(np.float32))


def damage_negative_cluster(folder):
    np.save(folder / "spike_clusters.npy", np.load(folder / "spike_clusters.npy") - 10)


def damage_twice(folder):
    write_tsv(folder / "cluster_group.tsv", ["cluster_id", "group"], [(2, "good"), (2, "mua")])


def damage_ids(folder):
    write_tsv(folder / "cluster_group.tsv", ["cluster_id", "group"], [("two", "good")])


def damage_header(folder):
    write_tsv(folder / "cluster_group.tsv", ["unit", "group"], [(2, "good")])


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (damage_pickle, "spike_times.npy: cannot be read .it holds Python objects"),
        (damage_length, "739 clusters for 740 spikes"),
        (damage_size, "spike_times.npy: cannot be read .it is shorter than its header"),
        (damage_cut, "spike_times.npy: cannot be read .it is shorter than its header"),
        (damage_empty, "holds no spikes"),
        (damage_shape, r"has shape \(740, 2\)"),
        (damage_nan, "1 values that are NaN or infinite, the first is number 7"),
        (damage_late, "later than any recording"),
        (damage_float32, "which that type rounds"),
        (damage_negative_cluster, "negative cluster -8"),
        (damage_twice, "row 3: cluster 2 is listed twice"),
        (damage_ids, "row 2: 'two' is no cluster id"),
        (damage_header, "has no column cluster_id"),
    ],
)
def test_damage_is_named(samples, opened, tmp_path, damage, match):
    damage(write_phy(tmp_path / "phy", samples, groups=GROUPS))
    refused(opened, match)


def test_every_option_of_the_stimulus_beside_is_taken():
    assert kilosort.OPTIONS[: len(BESIDE_OPTIONS)] == BESIDE_OPTIONS
