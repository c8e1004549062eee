"""MATLAB and other arrays come in through a mapping that says which variable is what.

Files are written by scipy.io.savemat, numpy and h5py alone; v7.3 as MATLAB does: HDF5 behind a
block of 512 bytes, axes reversed, cell arrays as references.
"""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from neuromodels.datasets.errors import RecordingError
from neuromodels.datasets.opening import open_recording
from neuromodels.datasets.sample import sample_recording

BINNED = """
bin_width = 0.010
species = "mouse"
{top}
[train]
stimulus = {{ variable = "movie", axes = ["x", "y", "time", "block"] }}
response = {{ variable = "counts", axes = ["neuron", "time", "block"] }}
{train}
[test]
stimulus = {{ variable = "clip", axes = ["x", "y", "time"] }}
response = {{ variable = "repeats", axes = ["neuron", "time", "trial"] }}
"""
SPIKES = """
{top}
[spikes]
variable = "{variable}"
units = "samples"
sampling_rate = 20000
{spikes}
[stimulus]
variable = "movie"
axes = ["time", "y", "x"]
frame_times = {{ variable = "flips", units = "ms" }}
"""


@pytest.fixture
def arrays():
    """Movies (x, y, time, block) and counts (neuron, time, block), as MATLAB shows them."""
    rng = np.random.default_rng(0)
    return {
        "movie": rng.integers(0, 255, (4, 3, 200, 5)).astype(np.uint8),
        "counts": rng.poisson(0.3, (2, 200, 5)).astype(np.float64),
        "clip": rng.integers(0, 255, (4, 3, 100)).astype(np.uint8),
        "repeats": rng.poisson(0.3, (2, 100, 6)).astype(np.float64),
    }


@pytest.fixture
def session():
    """Spike times in samples on the clock of 600 frames at 60 Hz."""
    rng = np.random.default_rng(1)
    flips = 1000.0 + np.arange(600) * 1000 / 60  # ms
    spikes = [np.sort(rng.integers(20000, 220000, n)).astype(np.float64) for n in (300, 500)]
    return {"movie": rng.random((600, 3, 4)), "flips": flips, "spikes": spikes}


def write_mapping(folder, text=BINNED, name="map.toml", top="", train="", **more):
    path = folder / name
    path.write_text(text.format(top=top, train=train, **more))
    return path


def matlab_order(array):
    return np.ascontiguousarray(np.asarray(array).T)


def matlab_class(array):
    names = {"float64": b"double", "float32": b"single", "bool": b"logical"}
    return names.get(array.dtype.name, array.dtype.name.encode())


def write_v73(path, plain, cells=None, texts=None, structs=None):
    with h5py.File(path, "w", userblock_size=512) as file:

        def put(group, name, array):
            array = np.atleast_2d(array)
            data = group.create_dataset(name, data=matlab_order(array))
            data.attrs["MATLAB_class"] = np.bytes_(matlab_class(array))
            return data

        for name, array in plain.items():
            put(file, name, array)
        refs = file.create_group("#refs#")
        for name, items in (cells or {}).items():
            made = [put(refs, f"{name}{i}", np.reshape(a, (-1, 1))) for i, a in enumerate(items)]
            cell = file.create_dataset(name, (len(items), 1), dtype=h5py.ref_dtype)
            cell[:, 0] = [item.ref for item in made]
            cell.attrs["MATLAB_class"] = np.bytes_(b"cell")
        for name, words in (texts or {}).items():
            cell = file.create_dataset(name, (len(words), 1), dtype=h5py.ref_dtype)
            for i, word in enumerate(words):
                codes = np.array([[ord(c)] for c in word], dtype=np.uint16)
                text = refs.create_dataset(f"{name}{i}", data=codes)
                text.attrs["MATLAB_class"] = np.bytes_(b"char")
                cell[i, 0] = text.ref
            cell.attrs["MATLAB_class"] = np.bytes_(b"cell")
        for name, fields in (structs or {}).items():
            group = file.create_group(name)
            group.attrs["MATLAB_class"] = np.bytes_(b"struct")
            for field, array in fields.items():
                put(group, field, array)
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created by a test".ljust(124) + b"\x00\x02IM"
    with open(path, "r+b") as file:
        file.write(head)
    return path


def object_cell(items):
    cell = np.empty(len(items), dtype=object)
    cell[:] = items
    return cell


def check_binned(recording, arrays, blocks):
    """What the arrays say, turned by hand."""
    train = recording.train
    movie = np.concatenate([arrays["movie"][..., b].transpose(2, 1, 0) for b in blocks])
    counts = np.concatenate([arrays["counts"][..., b].T for b in blocks])
    assert np.array_equal(train.stimulus.values, movie)
    assert np.array_equal(train.response.values, counts)
    assert train.response.dtype == np.uint8
    assert np.array_equal(train.block.values, np.repeat(blocks, 200))
    test = recording.test
    assert np.array_equal(test.stimulus.values, arrays["clip"].transpose(2, 1, 0))
    assert np.array_equal(test.response.values, arrays["repeats"].transpose(2, 1, 0))
    assert not recording.validate().errors


def test_the_bundled_recording_comes_exactly_from_its_original_files():
    folder = Path(os.environ.get("NEUROMODELS_DATA", "")) / "rgc-moving-bars"
    if "NEUROMODELS_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("set NEUROMODELS_DATA to a folder that holds rgc-moving-bars/*.mat")
    from importlib.resources import as_file, files

    with as_file(files("neuromodels.datasets.sample") / "moving_bars.toml") as mapping:
        found = open_recording(mapping, folder=folder)
    ours = sample_recording()
    assert found.roles() == ours.roles()
    assert list(found.neurons) == list(ours.neurons)
    assert found.exact_bin_width == ours.exact_bin_width
    for role in ours.roles():
        assert found.role(role).identical(ours.role(role).drop_vars(["rf_point"], errors="ignore"))
    for name in ("rf_outline_x", "rf_outline_y"):
        assert np.array_equal(found.tree.coords[name], ours.tree.coords[name])


@pytest.mark.parametrize("version", ["5", "5 compressed", "7.3"])
def test_a_mat_file_and_a_mapping_give_the_arrays_as_matlab_shows_them(tmp_path, arrays, version):
    path = tmp_path / "cells.mat"
    if version == "7.3":
        write_v73(path, arrays)
    else:
        savemat(path, arrays, do_compression="compressed" in version)
    mapping = write_mapping(tmp_path, train="heldout_blocks = [1, 3]")
    recording = open_recording(path, mapping=mapping)
    check_binned(recording, arrays, [0, 2, 4])
    assert np.unique(recording.heldout.block).tolist() == [1, 3]
    assert recording.attrs["species"] == "mouse"


def test_a_folder_a_mapping_alone_and_a_dict_are_the_same_recording(tmp_path, arrays):
    savemat(tmp_path / "cells.mat", arrays)
    elsewhere = tmp_path / "maps"
    elsewhere.mkdir()
    mapping = write_mapping(elsewhere, top='file = "cells.mat"')
    check_binned(open_recording(tmp_path, mapping=mapping), arrays, range(5))
    check_binned(open_recording(mapping, folder=tmp_path), arrays, range(5))
    beside = write_mapping(tmp_path, top='file = "cells.mat"')
    check_binned(open_recording(beside), arrays, range(5))
    check_binned(open_recording(tmp_path), arrays, range(5))
    import tomllib

    tables = tomllib.loads(beside.read_text())
    check_binned(open_recording(tmp_path / "cells.mat", mapping=tables), arrays, range(5))


def test_hdf5_npz_and_npy_are_read_in_the_order_they_are_stored(tmp_path, arrays):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("movie", "counts"):
            file[f"data/{name}"] = arrays[name]
    np.savez(tmp_path / "b.npz", repeats=arrays["repeats"])
    np.save(tmp_path / "clip.npy", arrays["clip"])
    text = (
        BINNED.replace('variable = "movie"', 'file = "a.h5", variable = "data/movie"')
        .replace('variable = "counts"', 'file = "a.h5", variable = "/data/counts"')
        .replace('variable = "clip"', 'file = "clip.npy"')
        .replace('variable = "repeats"', 'file = "b.npz", variable = "repeats"')
    )
    check_binned(open_recording(write_mapping(tmp_path, text)), arrays, range(5))


def test_blocks_may_follow_one_another_and_slices_keep_a_part(tmp_path, arrays):
    flat = {
        "movie": np.concatenate([arrays["movie"][..., b] for b in range(5)], axis=-1),
        "counts": np.concatenate([arrays["counts"][..., b] for b in range(5)], axis=-1),
    }
    savemat(tmp_path / "cells.mat", {**arrays, **flat})
    text = BINNED.replace(', "time", "block"]', ', "time"]')
    mapping = write_mapping(tmp_path, text, train="bins_per_block = 200\nheldout_blocks = [1]")
    check_binned(open_recording(tmp_path / "cells.mat", mapping=mapping), arrays, [0, 2, 3, 4])
    cut = text.replace('"time"] }}', '"time"], slices = {{ time = [200, 600] }} }}', 2)
    mapping = write_mapping(tmp_path, cut, train="first_bin = 200")
    train = open_recording(tmp_path / "cells.mat", mapping=mapping).train
    assert np.array_equal(train.response.values, flat["counts"][:, 200:600].T)
    assert np.array_equal(train.stimulus.values, flat["movie"][..., 200:600].transpose(2, 1, 0))
    assert train.time.values[0] == 2.0


def test_frames_slower_than_bins_are_kept_once(tmp_path, arrays):
    native = arrays["movie"]
    sampled = {**arrays, "movie": np.repeat(native, 2, axis=2), "clip": arrays["clip"]}
    counts = np.random.default_rng(2).poisson(0.2, (2, 400, 5))
    text = BINNED.replace('"block"] }}', '"block"], samples_per_frame = 2 }}', 1)
    savemat(tmp_path / "cells.mat", {**sampled, "counts": counts})
    mapping = write_mapping(tmp_path, text)
    train = open_recording(tmp_path / "cells.mat", mapping=mapping).train
    assert train.sizes["frame"] == 1000
    assert train.frame_of_bin.values[:4].tolist() == [0, 0, 1, 1]
    assert np.array_equal(train.stimulus.values[:200], native[..., 0].transpose(2, 1, 0))
    sampled["movie"][0, 0, 11, 3] += 1
    savemat(tmp_path / "cells.mat", {**sampled, "counts": counts})
    with pytest.raises(RecordingError, match="changes within frame 5 of block 3"):
        open_recording(tmp_path / "cells.mat", mapping=mapping)
    by_rate = BINNED.replace('"block"] }}', '"block"], frame_rate = 50 }}', 1)
    savemat(tmp_path / "cells.mat", {**arrays, "counts": counts})
    mapping = write_mapping(tmp_path, by_rate)
    again = open_recording(tmp_path / "cells.mat", mapping=mapping).train
    assert np.array_equal(again.frame_of_bin, train.frame_of_bin)
    assert np.allclose(again.frame_time, train.frame_time)


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("how", ["cell", "struct array", "matrix", "clusters"])
def test_spike_times_come_in_four_ways(tmp_path, session, version, how):
    path, spikes = tmp_path / "cells.mat", session["spikes"]
    plain = {"movie": session["movie"], "flips": session["flips"]}
    cells, extra, variable = {}, "", "spikes"
    if how == "cell":
        cells["spikes"] = spikes
    elif how == "struct array":
        variable = "units.times"
    elif how == "matrix":
        plain["spikes"] = np.full((2, 500), np.nan)
        for i, times in enumerate(spikes):
            plain["spikes"][i, : times.size] = times
    else:
        every = np.concatenate(spikes)
        order = np.argsort(every, kind="stable")
        plain["spikes"] = every[order]
        plain["owner"] = np.repeat([3, 8], [300, 500])[order]
        extra = 'clusters = "owner"'
    if version == "5":
        if how == "struct array":
            units = np.empty(2, dtype=[("times", object)])
            units["times"] = object_cell(spikes)
            plain["units"] = units
        savemat(path, plain | {name: object_cell(items) for name, items in cells.items()})
    else:
        write_v73(path, plain, cells)
        if how == "struct array":
            with h5py.File(path, "r+") as file:
                group = file.create_group("units")
                group.attrs["MATLAB_class"] = np.bytes_(b"struct")
                field = group.create_dataset("times", (2, 1), dtype=h5py.ref_dtype)
                for i, times in enumerate(spikes):
                    item = file["#refs#"].create_dataset(f"t{i}", data=times[None])
                    item.attrs["MATLAB_class"] = np.bytes_(b"double")
                    field[i, 0] = item.ref
    mapping = write_mapping(tmp_path, SPIKES, variable=variable, spikes=extra)
    recording = open_recording(path, mapping=mapping, bin_width=0.010)
    train = recording.train
    inside = [np.sum((t >= 20000) & (t < 220000)) for t in spikes]
    assert train.response.values.sum(axis=0).tolist() == inside
    first = np.histogram(spikes[0] / 20000, bins=1.0 + np.arange(1001) * 0.01)[0]
    assert np.abs(train.response.values[:, 0].astype(int) - first).sum() <= 2  # rounded edges
    assert np.allclose(train.stimulus.values, session["movie"].astype(np.float32))
    if how == "clusters":
        assert list(recording.neurons) == ["3", "8"]


@pytest.mark.parametrize("how", ["times", "sampling_rate"])
def test_traces_have_a_clock_of_their_own(tmp_path, session, how):
    scans = 0.5 + np.arange(150) / 10
    values = np.random.default_rng(5).normal(size=(2, 150))
    plain = {"movie": session["movie"], "flips": session["flips"], "dff": values, "scans": scans}
    savemat(tmp_path / "cells.mat", plain)
    clock = 'times = "scans"' if how == "times" else "sampling_rate = 10\nstart = 0.5"
    head = f'[traces]\nvariable = "dff"\naxes = ["neuron", "time"]\nunits = "dF/F"\n{clock}\n'
    mapping = write_mapping(tmp_path, SPIKES, variable="", spikes="")
    mapping.write_text(head + mapping.read_text().partition("20000\n")[2])
    train = open_recording(tmp_path / "cells.mat", mapping=mapping).train
    assert train.response.attrs["kind"] == "trace"
    assert train.response.attrs["units"] == "dF/F"
    assert train.time.values[0] == 1.0
    assert np.allclose(train.response.values, values[:, 5 : 5 + train.sizes["time"]].T, atol=1e-6)


def test_a_mapping_serves_hdf5_and_npz_files_directly(tmp_path, arrays):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values
    np.savez(tmp_path / "a.npz", **arrays)
    mapping = write_mapping(tmp_path)
    check_binned(open_recording(tmp_path / "a.h5", mapping=mapping), arrays, range(5))
    check_binned(open_recording(tmp_path / "a.npz", mapping=mapping), arrays, range(5))


def test_trials_in_variables_choose_the_test(tmp_path, session):
    rng = np.random.default_rng(3)
    clip = rng.random((100, 3, 4))
    movie = np.concatenate([rng.random((200, 3, 4)), clip, rng.random((200, 3, 4)), clip])
    edges = 1.0 + np.array([0, 200, 300, 500, 600]) / 60
    savemat(
        tmp_path / "cells.mat",
        {
            "movie": movie,
            "flips": session["flips"],
            "spikes": object_cell(session["spikes"]),
            "on": edges[:-1],
            "off": edges[1:],
            "what": object_cell(["long", "clip", "long", "clip"]),
        },
    )
    trials = '[trials]\nstart = "on"\nstop = "off"\ncolumns = { kind = "what" }\n'
    mapping = write_mapping(tmp_path, SPIKES, variable="spikes", spikes="")
    mapping.write_text(mapping.read_text() + trials)
    recording = open_recording(tmp_path / "cells.mat", mapping=mapping, test="kind == 'clip'")
    assert recording.test.sizes["trial"] == 2
    assert np.allclose(recording.test.stimulus.values, clip.astype(np.float32))


def test_names_of_neurons_come_from_char_arrays(tmp_path, arrays):
    write_v73(tmp_path / "cells.mat", arrays, texts={"ids": ["ON alpha", "OFF"]})
    mapping = write_mapping(tmp_path, top='neurons = { variable = "ids" }')
    assert list(open_recording(tmp_path / "cells.mat", mapping=mapping).neurons) == [
        "ON alpha",
        "OFF",
    ]


def test_fields_of_structs_are_named_with_dots(tmp_path, arrays):
    text = BINNED.replace('"counts"', '"data.counts"')
    inner = {"data": {"counts": arrays["counts"]}}
    plain = {name: arrays[name] for name in ("movie", "clip", "repeats")}
    mapping = write_mapping(tmp_path, text)
    savemat(tmp_path / "five.mat", plain | inner)
    write_v73(tmp_path / "seven.mat", plain, structs=inner)
    for name in ("five.mat", "seven.mat"):
        check_binned(open_recording(tmp_path / name, mapping=mapping), arrays, range(5))


def test_frames_on_disk_stay_there(tmp_path, arrays):
    write_v73(tmp_path / "cells.mat", arrays)
    recording = open_recording(tmp_path / "cells.mat", mapping=write_mapping(tmp_path))
    variable = recording.train.stimulus.variable
    assert not isinstance(variable._data, np.ndarray)
    picked = variable[[0, 1, 399, 400, 999]].values
    movie = np.concatenate([arrays["movie"][..., b].transpose(2, 1, 0) for b in range(5)])
    assert np.array_equal(picked, movie[[0, 1, 399, 400, 999]])


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_without_a_mapping_the_error_lists_variables_and_shows_a_template(
    tmp_path, arrays, version
):
    path = tmp_path / "cells.mat"
    savemat(path, arrays) if version == "5" else write_v73(path, arrays)
    with pytest.raises(RecordingError, match=r"movie \(4 x 3 x 200 x 5, uint8\)") as error:
        open_recording(path)
    assert 'stimulus = { variable = "movie"' in error.value.remedy
    assert "mapping=" in error.value.remedy


@pytest.mark.parametrize(
    ("old", "new", "what", "remedy"),
    [
        ('"counts"', '"count"', "no variable 'count'", "Did you mean 'counts'"),
        ("response = {{ variable", "responce = {{ variable", "unknown key", "Did you mean 'resp"),
        ("bin_width", "bin_widht", "unknown key", "Did you mean 'bin_width'"),
        ('["neuron", "time", "block"]', '["neuron", "time"]', "has 3 axes, shape", "Name every"),
        ('["neuron", "time", "block"]', '["time", "neuron", "block"]', "200", "frame_rate"),
        ('["neuron", "time", "block"]', '["cells", "time", "block"]', "is 'cells'", "Use one of"),
        ("bin_width = 0.010", "", "bin_width: is missing", "Say how wide"),
        ('axes = ["x", "y", "time"]', "axes = []", "axes: is []", "Name the axes"),
        ('"clip", ', '"clip", file = "../secret.mat", ', "lies outside", "folder="),
        ('"clip", ', '"clip", file = "cell.mat", ', "there is no cell.mat", "Did you mean"),
        (
            '"neuron", "time", "trial"] ',
            '"neuron", "time", "trial"], kind = "conut"',
            "is",
            "count",
        ),
        ("[test]", "[test", "is no TOML", "Mend that line"),
        ('species = "mouse"', "species = 3", "is 3", "text in quotes"),
    ],
)
def test_a_wrong_mapping_says_what_is_wrong_and_where(tmp_path, arrays, old, new, what, remedy):
    savemat(tmp_path / "cells.mat", arrays)
    (tmp_path.parent / "secret.mat").write_bytes((tmp_path / "cells.mat").read_bytes())
    assert old in BINNED
    mapping = write_mapping(tmp_path, BINNED.replace(old, new, 1))
    with pytest.raises(RecordingError) as error:
        open_recording(tmp_path / "cells.mat", mapping=mapping)
    assert what in f"{error.value.where}: {error.value.what}"
    assert remedy in error.value.remedy
    assert "map.toml" in error.value.where


def test_code_and_objects_are_refused_with_the_reason(tmp_path, arrays):
    path, mapping = tmp_path / "cells.mat", write_mapping(tmp_path)
    for name, word in ((b"function_handle", "it is code"), (b"containers.Map", "MATLAB object")):
        write_v73(path, arrays)
        with h5py.File(path, "r+") as file:
            file["counts"].attrs["MATLAB_class"] = np.bytes_(name)
        with pytest.raises(RecordingError, match=word):
            open_recording(path, mapping=mapping)
    np.save(tmp_path / "counts.npy", np.array([{"a": 1}, 2], dtype=object), allow_pickle=True)
    text = BINNED.replace('variable = "counts"', 'file = "counts.npy"')
    savemat(path, arrays)
    with pytest.raises(RecordingError, match="nothing that is read is executed"):
        open_recording(path, mapping=write_mapping(tmp_path, text))


def test_links_to_other_files_are_refused(tmp_path, arrays):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["counts"] = arrays["counts"]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("movie", "clip", "repeats"):
            file[name] = arrays[name]
        file["counts"] = h5py.ExternalLink(str(other), "/counts")
    mapping = write_mapping(tmp_path, top='file = "a.h5"')
    with pytest.raises(RecordingError, match="link to another file"):
        open_recording(mapping)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda t: t[::-1], "comes after"),
        (lambda t: np.append(t, np.nan), "nan"),
        (lambda t: np.append(t, [0.0, 0.0]), "comes after"),
        (lambda t: t + 1e9, "no spike falls into the stimulus"),
    ],
)
def test_bad_spike_times_are_found(tmp_path, session, spoil, what):
    spikes = object_cell([spoil(times) for times in session["spikes"]])
    savemat(tmp_path / "cells.mat", {**session, "spikes": spikes})
    mapping = write_mapping(tmp_path, SPIKES, variable="spikes", spikes="")
    with pytest.raises(RecordingError, match=what):
        open_recording(tmp_path / "cells.mat", mapping=mapping)


def test_values_of_any_type_in_a_mapping_end_in_a_clear_error_or_a_recording(tmp_path, arrays):
    import copy
    import tomllib

    savemat(tmp_path / "cells.mat", arrays)
    train = 'heldout_blocks = [1]\nfirst_bin = 3\nselection = "all"'
    top = 'neurons = ["a", "b"]\n[stimulus]\nname = "m"\nsamples_per_frame = 1'
    tables = tomllib.loads(BINNED.format(top=top, train=train))
    odd = [True, -1, 10**30, float("nan"), "", "\0", "x" * 400, [], [[]], ["time"], {}, {"a": 1}]

    def keys(table, before=()):
        for key, value in table.items():
            yield (*before, key)
            if isinstance(value, dict):
                yield from keys(value, (*before, key))

    places = list(keys(tables))
    rng = np.random.default_rng(6)
    for _ in range(60):
        changed = copy.deepcopy(tables)
        *above, last = places[rng.integers(len(places))]
        table = changed
        for key in above:
            table = table[key]
        table[last] = odd[rng.integers(len(odd))]
        try:
            open_recording(tmp_path / "cells.mat", mapping=changed).validate()
        except RecordingError as error:
            assert "Error:" not in error.what, error  # nothing that escaped a check


def test_declared_sizes_are_not_trusted(tmp_path, arrays):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("movie", "clip", "repeats"):
            file[name] = arrays[name]
        file.create_dataset("counts", (2, 10**12, 5), chunks=(1, 1000, 1), dtype="f8")
    mapping = write_mapping(tmp_path, top='file = "a.h5"')
    with pytest.raises(RecordingError, match="declares shape"):
        open_recording(mapping)


def test_a_type_that_would_crash_scipy_is_found_before(tmp_path, arrays):
    path = tmp_path / "cells.mat"
    savemat(path, arrays)
    content = bytearray(path.read_bytes())
    at = content.index(b"counts") + 8  # the name is padded to eight bytes
    assert content[at] == 9  # miDOUBLE
    content[at] = 77
    path.write_bytes(bytes(content))
    with pytest.raises(RecordingError, match="numbers have type 77"):
        open_recording(path, mapping=write_mapping(tmp_path))


def test_a_truncated_or_flipped_mat_file_ends_in_an_error_or_a_recording(tmp_path, arrays):
    rng = np.random.default_rng(4)
    mapping = write_mapping(tmp_path)
    for version in ("5", "7.3"):
        path = tmp_path / f"whole{version}.mat"
        if version == "5":
            savemat(path, arrays, do_compression=True)
        else:
            write_v73(path, arrays)
        whole = path.read_bytes()
        for i in range(25):
            broken = bytearray(whole)
            if i % 2:
                broken = broken[: int(rng.integers(len(whole)))]
            else:
                for at in rng.integers(0, min(len(whole), 6000), 4):
                    broken[at] ^= int(rng.integers(1, 256))
            bad = tmp_path / "bad.mat"
            bad.write_bytes(bytes(broken))
            try:
                open_recording(bad, mapping=mapping).validate()
            except RecordingError as error:
                assert "bad.mat" in str(error) or "map.toml" in str(error)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("testfunc_7.4_GLNX86.mat", "function handle"),
        ("testobject_7.4_GLNX86.mat", "MATLAB object"),
        ("testcomplex_7.4_GLNX86.mat", "complex"),
        ("teststruct_7.4_GLNX86.mat", "is a struct"),
        ("corrupted_zlib_checksum.mat", "cannot be read"),
    ],
)
def test_files_that_matlab_wrote_are_refused_for_the_right_reason(tmp_path, name, word):
    import scipy.io.matlab

    path = Path(scipy.io.matlab.__file__).parent / "tests" / "data" / name
    if not path.exists():
        pytest.skip("this scipy comes without its test files")
    variable = name.split("_")[0]
    text = f'bin_width = 1\n[train]\nresponse = {{ variable = "{variable}", axes = '
    mapping = tmp_path / "map.toml"
    mapping.write_text(text + '["neuron", "time"] }\n')
    with pytest.raises(RecordingError, match=word):
        open_recording(path, mapping=mapping)
