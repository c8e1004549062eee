"""Frames and links outside of an NWB file: read from its folder, refused from elsewhere."""

import h5py
import numpy as np
import pytest
from nwb_files import checkerboard, write_nwb
from PIL import Image
from pynwb.image import ImageSeries

from neuromodels.datasets.errors import RecordingError
from neuromodels.datasets.links import check_declared, check_links
from neuromodels.datasets.opening import open_recording
from neuromodels.datasets.sources import Source

MOVIE = checkerboard(120, 3)
SPIKES = [np.sort(np.random.default_rng(i).uniform(0, 4, 200)) for i in range(2)]


def write_external(folder, files):
    folder.mkdir(exist_ok=True)
    series = ImageSeries(
        name="film",
        external_file=files,
        unit="grey",
        rate=30.0,
        starting_frame=[0] * len(files),
        num_samples=120,
    )
    return write_nwb(folder / "cell.nwb", spike_times=SPIKES, series=[series])


def write_images(folder):
    folder.mkdir(exist_ok=True)
    names = []
    for i, frame in enumerate(MOVIE):
        names.append(f"{folder.name}/frame{i}.png")
        Image.fromarray(frame).save(folder / f"frame{i}.png")
    return names


def test_listed_images_are_frames_in_the_order_y_x(tmp_path):
    path = write_external(tmp_path, write_images(tmp_path / "frames"))
    recording = open_recording(path)
    variable = recording.tree["film/train"].to_dataset()["stimulus"].variable
    assert not variable._in_memory
    np.testing.assert_array_equal(variable[100:103].values, MOVIE[100:103])
    np.testing.assert_array_equal(variable.values, MOVIE)
    assert not any("axes='yx'" in note for note in recording.attrs["notes"])


def test_pages_of_a_tiff_in_colour(tmp_path):
    colour = np.stack([MOVIE, 255 - MOVIE, MOVIE // 2], axis=3)
    pages = [Image.fromarray(frame) for frame in colour]
    pages[0].save(tmp_path / "film.tif", save_all=True, append_images=pages[1:])
    recording = open_recording(write_external(tmp_path, ["film.tif"]))
    np.testing.assert_array_equal(recording.train["stimulus"].values, np.moveaxis(colour, 3, 1))


def test_a_video_is_opened_beside_the_file(tmp_path):
    av = pytest.importorskip("av")
    grey = np.kron(MOVIE, np.ones((8, 8), np.uint8))
    with av.open(str(tmp_path / "film.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = grey.shape[2], grey.shape[1], "gray"
        for frame in grey:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    recording = open_recording(write_external(tmp_path, ["film.mkv"]))
    np.testing.assert_array_equal(recording.train["stimulus"].values, grey)


@pytest.mark.parametrize("absolute", [True, False], ids=["absolute", "up and out"])
def test_frames_outside_of_the_folder_need_to_be_allowed(tmp_path, absolute):
    names = write_images(tmp_path / "frames")
    names = [str(tmp_path / name) if absolute else f"../{name}" for name in names]
    path = write_external(tmp_path / "session", names)
    with pytest.raises(RecordingError, match="outside of the file's folder") as error:
        open_recording(path)
    assert "allow_external=True" in error.value.remedy
    recording = open_recording(path, allow_external=True)
    np.testing.assert_array_equal(recording.train["stimulus"].values, MOVIE)


def test_a_symbolic_link_does_not_lead_out(tmp_path):
    names = write_images(tmp_path / "frames")
    (tmp_path / "session").mkdir()
    (tmp_path / "session" / "frames").symlink_to(tmp_path / "frames")
    path = write_external(tmp_path / "session", names)
    with pytest.raises(RecordingError, match="outside of the file's folder"):
        open_recording(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "which is not there"), (b"\x89PNG not an image", "a.png is damaged or no image")],
)
def test_a_missing_or_damaged_image_is_named(tmp_path, content, what):
    path = write_external(tmp_path, ["a.png"])
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(RecordingError, match=what) as error:
        open_recording(path)
    assert error.value.where == f"{path}: /stimulus/presentation/film"


def test_a_link_to_another_folder_is_refused_and_one_in_the_folder_followed(tmp_path):
    (tmp_path / "session").mkdir()
    rate = {"rate": 30.0, "frames": MOVIE, "spike_times": SPIKES}
    path = write_nwb(tmp_path / "session" / "cell.nwb", **rate)
    with h5py.File(path, "a") as file:
        data = file["stimulus/presentation/movie/data"]
        frames, about = data[:], dict(data.attrs)
        del file["stimulus/presentation/movie/data"]
        file["stimulus/presentation/movie/data"] = h5py.ExternalLink("frames.h5", "/data")
    for place in (tmp_path, tmp_path / "session"):
        with h5py.File(place / "frames.h5", "w") as file:
            file.create_dataset("data", data=frames).attrs.update(about)
    recording = open_recording(path)
    np.testing.assert_array_equal(recording.train["stimulus"].values, MOVIE)
    with h5py.File(path, "a") as file:
        del file["stimulus/presentation/movie/data"]
        file["stimulus/presentation/movie/data"] = h5py.ExternalLink("../frames.h5", "/data")
    with pytest.raises(RecordingError, match="links to '../frames.h5', outside") as error:
        open_recording(path)
    assert error.value.where == f"{path}: /stimulus/presentation/movie/data"
    recording = open_recording(path, allow_external=True)
    np.testing.assert_array_equal(recording.train["stimulus"].values, MOVIE)


@pytest.fixture
def linked(tmp_path):
    """A file in a folder of its own, with a cycle of hard links; and something outside."""
    (tmp_path / "inside").mkdir()
    path = tmp_path / "inside" / "main.h5"
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.arange(3)
    with h5py.File(path, "w") as file:
        group = file.create_group("a/b")
        group["loop"] = file["a"]
        file["up"] = file["/"]
        file["a/soft"] = h5py.SoftLink("/nowhere")
    return path


def check(path):
    with h5py.File(path, "r") as file:
        check_links(file, Source(path))


def test_cycles_and_links_that_lead_nowhere_do_no_harm(linked):
    with h5py.File(linked, "a") as file:
        file["gone"] = h5py.ExternalLink("gone.h5", "/x")
    check(linked)


def test_raw_data_in_another_file_are_refused(linked, tmp_path):
    with h5py.File(linked, "a") as file:
        file.create_dataset("raw", (4,), "u1", external=[(str(tmp_path / "secret.h5"), 0, 4)])
    with pytest.raises(RecordingError, match="/raw: has its data in"):
        check(linked)


def test_virtual_datasets_are_followed_in_the_folder_only(linked):
    def compose(name):
        with h5py.File(linked, "a") as file:
            layout = h5py.VirtualLayout((3,), "i8")
            layout[:] = h5py.VirtualSource(name, "x", (3,))
            file.create_virtual_dataset("v", layout)

    with h5py.File(linked.parent / "part.h5", "w") as file:
        file["x"] = np.arange(3)
    compose("part.h5")
    check(linked)
    with h5py.File(linked, "a") as file:
        del file["v"]
    compose("../secret.h5")
    with pytest.raises(RecordingError, match="/v: is composed of '../secret.h5'"):
        check(linked)


def test_a_file_beside_it_cannot_lead_out_either(linked):
    with h5py.File(linked.parent / "next.h5", "w") as file:
        file["x"] = h5py.ExternalLink("../secret.h5", "/x")
    with h5py.File(linked, "a") as file:
        file["next"] = h5py.ExternalLink("next.h5", "/x")
    with pytest.raises(RecordingError, match="next.h5: /x: links to '../secret.h5'"):
        check(linked)


def test_a_size_that_is_declared_but_not_stored_is_refused(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        huge = file.create_dataset("x", (2**40, 6, 8), "u1", chunks=(1024, 6, 8))
        huge[:1024] = 1
        with pytest.raises(ValueError, match="declares 4.92e\\+04 GiB"):
            check_declared(huge, "huge.h5: /x")
