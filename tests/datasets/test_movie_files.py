"""Movies that numpy, h5py, pillow and PyAV wrote come back as their frames, read when asked for."""

import json
import os
import pickle
import sys
from statistics import NormalDist

import h5py
import numpy as np
import pytest
import xarray as xr
from PIL import Image

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.movie_files import open_movie


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (24, 16, 20), dtype=np.uint8)


def check(variable, frames):
    """All of it, a slice, a list out of order, one frame and a pixel are those of the array."""
    assert variable.shape == frames.shape
    assert variable.dtype in (np.uint8, np.float32)
    assert "units" in variable.attrs
    assert variable.dims[0] == "frame" and variable.dims[-2:] == ("y", "x")
    np.testing.assert_array_equal(variable.values, frames)
    np.testing.assert_array_equal(variable[5:9].values, frames[5:9])
    np.testing.assert_array_equal(variable[[7, 2, 3, 3]].values, frames[[7, 2, 3, 3]])
    np.testing.assert_array_equal(variable[-1].values, frames[-1])
    np.testing.assert_array_equal(variable[3, ..., -1].values, frames[3, ..., -1])


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(frames, tmp_path, order):
    np.save(tmp_path / "movie.npy", np.asarray(frames, order=order))
    movie = open_movie(tmp_path / "movie.npy")
    check(movie, frames)
    check(pickle.loads(pickle.dumps(movie)), frames)  # worker processes get it like this


def test_floats_and_wide_integers_become_float32_and_booleans_uint8(frames, tmp_path):
    np.save(tmp_path / "a.npy", frames / 255)
    np.save(tmp_path / "b.npy", frames.astype(np.int16) - 100)
    np.save(tmp_path / "c.npy", frames > 100)
    check(open_movie(tmp_path / "a.npy"), (frames / 255).astype(np.float32))
    check(open_movie(tmp_path / "b.npy"), frames.astype(np.float32) - 100)
    check(open_movie(tmp_path / "c.npy"), (frames > 100).astype(np.uint8))
    assert open_movie(tmp_path / "c.npy").dtype == np.uint8


def test_colours_are_the_second_axis_wherever_the_file_has_them(frames, tmp_path):
    colour = np.stack([frames, frames // 2, 255 - frames], axis=1)
    check(open_movie(colour), colour)
    np.save(tmp_path / "movie.npy", np.moveaxis(colour, 1, 3))
    check(open_movie(tmp_path / "movie.npy"), colour)


def test_a_flicker_is_one_pixel_and_a_list_of_bars_one_column(frames):
    check(open_movie(frames[:, 0, 0]), frames[:, :1, :1])
    check(open_movie(frames[:, :, 0]), frames[:, :, :1])


def test_hdf5_by_name_and_alone(frames, tmp_path):
    with h5py.File(tmp_path / "stim.h5", "w") as file:
        data = file.create_dataset("show/noise", data=frames, chunks=(4, 16, 20), compression=4)
        data.attrs["units"] = "contrast"
        file["onsets"] = np.arange(24.0)
    movie = open_movie(f"{tmp_path}/stim.h5:/show/noise")
    check(movie, frames)
    assert movie.attrs["units"] == "contrast"
    check(open_movie(tmp_path / "stim.h5"), frames)
    with h5py.File(tmp_path / "stim.h5", "a") as file:  # so it is not held open
        file["other"] = frames
    with pytest.raises(InputError, match=r"2 datasets that may be the movie.*\n.*stim.h5:/other"):
        open_movie(tmp_path / "stim.h5")
    with pytest.raises(InputError, match=r"no /show/noize(.|\n)*noise"):
        open_movie(f"{tmp_path}/stim.h5:/show/noize")


def test_hdf5_data_in_other_files_is_not_followed(frames, tmp_path):
    (tmp_path / "secret.raw").write_bytes(bytes(24 * 16 * 20))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["movie"] = frames
    with h5py.File(tmp_path / "stim.h5", "w") as file:
        file["link"] = h5py.ExternalLink("other.h5", "/movie")
        raw = [(str(tmp_path / "secret.raw"), 0, 24 * 16 * 20)]
        file.create_dataset("raw", (24, 16, 20), np.uint8, external=raw)
        layout = h5py.VirtualLayout((24, 16, 20), np.uint8)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "movie", (24, 16, 20))
        file.create_virtual_dataset("virtual", layout)
    for name in ("link", "raw", "virtual"):
        with pytest.raises(InputError, match="not followed"):
            open_movie(f"{tmp_path}/stim.h5:/{name}")


def test_images_in_the_order_of_their_numbers(frames, tmp_path):
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"frame{i}.png")  # frame10 sorts before frame2
    (tmp_path / "readme.txt").write_text("not a frame")
    (tmp_path / "._frame3.png").write_bytes(b"left by macOS")
    check(open_movie(tmp_path), frames)


def test_colour_images_and_deep_grey_ones(frames, tmp_path):
    for kind in ("colour", "deep"):
        (tmp_path / kind).mkdir()
    colour = np.stack([frames, frames // 2, 255 - frames], axis=1)
    deep = frames.astype(np.uint16) * 100
    for i in range(len(frames)):
        Image.fromarray(np.moveaxis(colour[i], 0, 2)).save(tmp_path / f"colour/{i}.png")
        Image.fromarray(deep[i]).save(tmp_path / f"deep/{i}.tif")
    check(open_movie(tmp_path / "colour"), colour)
    check(open_movie(tmp_path / "deep"), deep.astype(np.float32))


def test_tif_stack(frames, tmp_path):
    pages = [Image.fromarray(frame) for frame in frames]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    check(open_movie(tmp_path / "stack.tif"), frames)


def test_images_of_different_sizes_or_kinds_are_named(frames, tmp_path):
    for i in range(3):
        Image.fromarray(frames[i]).save(tmp_path / f"{i}.png")
    Image.fromarray(frames[3][:, :10]).save(tmp_path / "3.png")
    with pytest.raises(InputError, match=r"3.png is 10 x 16 pixels.*first image is 20 x 16"):
        open_movie(tmp_path)
    (tmp_path / "3.png").write_bytes((tmp_path / "2.png").read_bytes()[:60])
    movie = open_movie(tmp_path)
    with pytest.raises(InputError, match=r"3.png is damaged"):
        movie.values  # noqa: B018
    (tmp_path / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match=r"3.png is damaged"):
        open_movie(tmp_path)


def write_video(path, frames, codec, pix_fmt, rate=30, **options):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for frame in frames:
            kind = "gray" if frame.ndim == 2 else "rgb24"
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format=kind)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@pytest.mark.parametrize("name", ["movie.avi", "movie.mkv"])
def test_lossless_video_is_exact(frames, tmp_path, name):
    pytest.importorskip("av")
    write_video(tmp_path / name, frames, "ffv1", "gray")
    movie = open_movie(tmp_path / name)
    check(movie, frames)
    assert movie.attrs["frame_rate"] == pytest.approx(30)


@pytest.mark.parametrize(
    "name, codec",
    [("movie.mp4", "mpeg4"), ("movie.avi", "mpeg4"), ("a.mp4", "libx264"), ("a.mpg", "mpeg2video")],
)
def test_any_frames_of_a_predicted_video_are_those_of_decoding_all(tmp_path, name, codec):
    """Key frames every 12, frames predicted from both sides: an off-by-one would be seen."""
    av = pytest.importorskip("av")
    ramp = np.zeros((60, 32, 48), dtype=np.uint8)
    for i in range(60):
        ramp[i, :, : i // 2 + 4] = 4 * i + 8
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    write_video(tmp_path / name, ramp, codec, "yuv420p", g="12", bf="2")
    with av.open(str(tmp_path / name)) as container:
        decoded = np.stack([f.to_ndarray(format="gray") for f in container.decode(video=0)])
    assert len(decoded) == 60
    movie = open_movie(tmp_path / name)
    check(movie, decoded)
    for first in range(0, 60, 7):
        np.testing.assert_array_equal(movie[first : first + 3].values, decoded[first : first + 3])
    # The luma of what was shown, up to what the codec loses.
    np.testing.assert_allclose(decoded[:, 10, 1], ramp[:, 10, 1], atol=16)


def test_video_in_colour(frames, tmp_path):
    pytest.importorskip("av")
    colour = np.stack([frames, frames // 2, 255 - frames], axis=3)
    write_video(tmp_path / "movie.mkv", colour, "ffv1", "bgr0")
    check(open_movie(tmp_path / "movie.mkv", colour=True), np.moveaxis(colour, 3, 1))


def test_video_without_pyav_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "movie.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'neuromodels\[video\]'"):
        open_movie(tmp_path / "movie.mp4")


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9])
def test_damaged_video_is_an_error_or_a_movie(frames, tmp_path, keep):
    pytest.importorskip("av")
    write_video(tmp_path / "movie.mp4", frames, "mpeg4", "yuv420p")
    whole = (tmp_path / "movie.mp4").read_bytes()
    (tmp_path / "movie.mp4").write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(InputError, match=r"movie.mp4"):
        open_movie(tmp_path / "movie.mp4").values  # noqa: B018


def test_labelled_arrays_keep_their_units_and_are_brought_into_order(frames):
    array = xr.DataArray(
        frames.transpose(1, 2, 0), dims=("y", "x", "time"), attrs={"units": "cd/m2"}
    )
    movie = open_movie(array)
    check(movie, frames)
    assert movie.attrs["units"] == "cd/m2"


def test_binary_noise_is_numpys_own_stream(tmp_path):
    recipe = {"generator": "white-noise", "seed": 5, "shape": [6, 7], "n_frames": 200}
    uniform = np.random.default_rng(5).random((200, 6, 7))
    check(open_movie(recipe), (uniform < 0.5).astype(np.uint8))
    check(
        open_movie({**recipe, "levels": [-1, 1]}),
        np.where(uniform < 0.5, 1, -1).astype(np.float32),
    )
    (tmp_path / "noise.json").write_text(json.dumps(recipe))
    (tmp_path / "noise.toml").write_text(
        'generator = "white-noise"\nseed = 5\nshape = [6, 7]\nn_frames = 200\n'
    )
    check(open_movie(tmp_path / "noise.json"), (uniform < 0.5).astype(np.uint8))
    check(open_movie(tmp_path / "noise.toml"), (uniform < 0.5).astype(np.uint8))


def test_held_patterns_and_gaussian_noise():
    recipe = {"generator": "white-noise", "seed": 2, "shape": [2, 4, 5], "n_frames": 101, "hold": 3}
    uniform = np.random.default_rng(2).random((34, 2, 4, 5)).repeat(3, axis=0)[:101]
    check(open_movie(recipe), (uniform < 0.5).astype(np.uint8))
    movie = open_movie({**recipe, "distribution": "gaussian", "mean": 10.0, "sd": 2.0})
    expected = [NormalDist(10, 2).inv_cdf(u) for u in uniform.ravel()]
    np.testing.assert_allclose(movie.values.ravel(), expected, rtol=1e-5)
    check(movie, movie.values)


def test_far_frames_of_noise_are_made_without_those_before():
    recipe = {"generator": "white-noise", "seed": 0, "shape": [100, 100], "n_frames": 10**9}
    assert open_movie(recipe)[10**9 - 2 :].values.mean() == pytest.approx(0.5, abs=0.02)


def test_an_object_that_makes_frames_when_called():
    class Flicker:
        shape, dtype = (30, 4, 5), np.float64

        def __call__(self, start, stop):
            return np.sin(np.arange(start, stop))[:, None, None] * np.ones((4, 5))

    expected = np.broadcast_to(np.sin(np.arange(30.0))[:, None, None], (30, 4, 5))
    check(open_movie(Flicker()), expected.astype(np.float32))


def test_nothing_is_read_before_it_is_needed(tmp_path):
    """A sparse file of a terabyte opens at once, and so does one frame of it."""
    shape = (10**6, 1000, 1000)
    with (tmp_path / "big.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        os.truncate(file.fileno(), file.tell() + 10**12)
    assert open_movie(tmp_path / "big.npy")[999_999].values.sum() == 0


def declare(path, shape, descr="|u1", data=b"\0" * 100):
    with path.open("wb") as file:
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(data)


@pytest.mark.parametrize("shape", [(10**6, 1000, 1000), (101,), (10**30, 2, 2), (-1, 5, 5)])
def test_npy_that_claims_more_than_it_has_is_refused(tmp_path, shape):
    declare(tmp_path / "movie.npy", shape)
    with pytest.raises(InputError, match="claims shape|damaged header"):
        open_movie(tmp_path / "movie.npy")


def test_hdf5_that_claims_more_than_it_has_is_refused(tmp_path):
    with h5py.File(tmp_path / "movie.h5", "w") as file:
        file.create_dataset("movie", (10**6, 1000, 1000), np.uint8, chunks=(1, 1000, 1000))
    with pytest.raises(InputError, match="claims shape"):
        open_movie(tmp_path / "movie.h5")


def test_objects_are_not_unpickled(tmp_path):
    class Boom:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    np.save(tmp_path / "movie.npy", np.array([Boom(), 1], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects, which could run code"):
        open_movie(tmp_path / "movie.npy")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "given, said",
    [
        (np.zeros((3, 0, 5)), "is no movie"),
        (np.zeros((3, 9, 8, 7)), "no axis of at most 4 colours"),
        (np.zeros((3, 4, 5), dtype=complex), "no grey levels"),
        (np.array([["a"]]), "no grey levels"),
        ([[1, 2], [1]], "different sizes"),
        (print, "gives no frames"),
        (3, "gives no frames"),
        ("missing.npy", "no such file"),
        ("a\0b", "no such file"),
        ({"generator": "white-noise", "seed": 0}, "lacks shape, n_frames"),
        ({"generator": "pink-noise"}, "generator is 'pink-noise'"),
        (
            {"generator": "white-noise", "seed": 0.5, "shape": [4, 4], "n_frames": 3},
            "seed: is 0.5",
        ),
        (
            {"generator": "white-noise", "seed": 1, "shape": [4, 10**12], "n_frames": 3},
            "too large for a frame",
        ),
        (
            {"generator": "white-noise", "seed": 1, "shape": [4, 4], "n_frames": 3, "sed": 1},
            "unknown key 'sed'",
        ),
    ],
)
def test_what_is_no_movie_is_said(given, said):
    with pytest.raises(InputError, match=said):
        open_movie(given)


@pytest.mark.parametrize(
    "name, content",
    [
        ("movie.npy", b""),
        ("movie.npy", b"\x93NUMPY\x01\x00"),
        ("movie.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': broken"),
        ("movie.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 50),
        ("movie.tif", b"II*\0" + b"\0" * 50),
        ("movie.avi", b"RIFF" + b"\0" * 50),
        ("movie.toml", b"generator = "),
        ("movie.json", b"[1, 2]"),
        ("movie.json", b"[" * 100_000),
        ("movie.txt", b"hello"),
    ],
)
def test_damaged_files_are_errors_that_name_them(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        open_movie(tmp_path / name)
