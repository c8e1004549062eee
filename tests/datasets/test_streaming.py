"""Recordings are read over a connection by ranges: only what is needed is fetched."""

import contextlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import h5py
import numpy as np
import pytest
from nwb_files import checkerboard, write_nwb
from pynwb.image import ImageSeries

from neuromodels.datasets.arrays import recording_from_arrays
from neuromodels.datasets.errors import RecordingError
from neuromodels.datasets.opening import open_recording

RATE = 30.0
CLIP = 60  # frames
HEIGHT, WIDTH = 96, 128


class Ranges(BaseHTTPRequestHandler):
    """Serves one folder by ranges, and counts the bytes that were asked for."""

    protocol_version = "HTTP/1.1"
    folder, sent, whole_only = None, 0, False

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path = self.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        size = path.stat().st_size
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = 0, size
        if asked and not self.whole_only:
            start = int(asked[1])
            stop = min(size, int(asked[2]) + 1 if asked[2] else size)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        else:
            self.send_response(200)
        if not self.whole_only:
            self.send_header("Accept-Ranges", "bytes")
        else:
            self.send_header("Accept-Ranges", "none")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if body:
            with path.open("rb") as file:
                file.seek(start)
                type(self).sent += stop - start
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.wfile.write(file.read(stop - start))

    def log_message(self, *args):
        pass


@pytest.fixture
def serve(tmp_path):
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    handler = type("Handler", (Ranges,), {"folder": tmp_path})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def session():
    clip = checkerboard(CLIP, 1, HEIGHT, WIDTH)
    unique = checkerboard(900, 2, HEIGHT, WIDTH)
    movie = np.concatenate([unique[:420], clip, unique[420:840], clip, unique[840:]])
    edges = np.cumsum([0, 420, CLIP, 420, CLIP, 60]) / RATE
    trials = [
        (a, b, kind)
        for a, b, kind in zip(edges[:-1], edges[1:], ["u", "r", "u", "r", "u"], strict=True)
    ]
    spikes = [np.sort(np.random.default_rng(i).uniform(0, edges[-1], 500)) for i in range(3)]
    return {"frames": movie, "spike_times": spikes, "trials": trials, "trial_columns": ("kind",)}


def test_a_stretch_of_an_nwb_movie_is_a_small_part_of_the_file(serve, session, tmp_path):
    handler, address = serve
    path = write_nwb(tmp_path / "cell.nwb", rate=RATE, **session)
    size = path.stat().st_size
    assert size > 10e6
    recording = open_recording(f"{address}/cell.nwb", test="none", bin_width=0.1)
    opened = handler.sent
    second = recording.tree["movie/train"].to_dataset()["stimulus"].variable[300:330]
    np.testing.assert_array_equal(second.values, session["frames"][300:330])
    one_second = 30 * HEIGHT * WIDTH
    assert handler.sent - opened < one_second + 2 * 2**16 + 1
    assert opened < 0.1 * size and handler.sent < 0.15 * size
    expected = open_recording(path, test="none", bin_width=0.1)
    np.testing.assert_array_equal(
        recording.train["response"].values, expected.train["response"].values
    )
    assert any("streamed" in note for note in recording.attrs["notes"])


def test_repeats_among_streamed_trials_are_found_from_a_few_frames(serve, session, tmp_path):
    handler, address = serve
    path = write_nwb(tmp_path / "cell.nwb", rate=RATE, **session)
    expected = open_recording(path)
    recording = open_recording(f"{address}/cell.nwb")
    assert handler.sent < 0.35 * path.stat().st_size  # both repeats, and two frames of each trial
    np.testing.assert_array_equal(
        recording.test["response"].values, expected.test["response"].values
    )
    assert recording.train.sizes == expected.train.sizes
    said = open_recording(f"{address}/cell.nwb", test="kind == 'r'")
    np.testing.assert_array_equal(said.test["response"].values, expected.test["response"].values)


def test_frames_in_other_files_are_out_of_reach_of_a_stream(serve, session, tmp_path):
    _, address = serve
    series = ImageSeries(
        name="film", external_file=["film.avi"], unit="grey", rate=RATE, num_samples=450
    )
    write_nwb(tmp_path / "cell.nwb", spike_times=session["spike_times"], series=[series])
    with pytest.raises(RecordingError, match="which a streamed file cannot reach") as error:
        open_recording(f"{address}/cell.nwb")
    assert "stimulus=" in error.value.remedy


def test_links_of_a_stream_are_not_followed(serve, session, tmp_path):
    _, address = serve
    path = write_nwb(tmp_path / "cell.nwb", spike_times=session["spike_times"])
    with h5py.File(path, "a") as file:
        file["acquisition/raw"] = h5py.ExternalLink("raw.nwb", "/x")
    with pytest.raises(RecordingError, match="/acquisition/raw: links to 'raw.nwb'"):
        open_recording(f"{address}/cell.nwb")


def test_an_open_file_object_is_read_where_it_is(session, tmp_path):
    path = write_nwb(tmp_path / "cell.nwb", rate=RATE, **session)
    with path.open("rb") as file:
        recording = open_recording(file, test="kind == 'r'")
        assert recording.validate().errors == ()
        expected = open_recording(path, test="kind == 'r'")
        np.testing.assert_array_equal(
            recording.train["stimulus"][:5].values, expected.train["stimulus"][:5].values
        )


def test_a_stretch_of_our_own_file_is_a_small_part_of_it(serve, tmp_path):
    handler, address = serve
    frames = np.random.default_rng(0).integers(0, 256, (1200, HEIGHT, WIDTH), dtype=np.uint8)
    counts = np.random.default_rng(1).poisson(0.3, (1200, 4))
    recording = recording_from_arrays(frames, counts, bin_width=0.05, frame_rate=20.0)
    path = recording.to_hdf5(tmp_path / "recording.h5")
    size = path.stat().st_size
    assert size > 10e6
    streamed = open_recording(f"{address}/recording.h5")
    part = streamed.train["stimulus"].variable[300:330]
    np.testing.assert_array_equal(part.values, frames[300:330])
    np.testing.assert_array_equal(streamed.train["response"].values, counts)
    assert handler.sent < 0.15 * size


def test_an_address_that_does_not_serve_is_named(serve, tmp_path):
    handler, address = serve
    with pytest.raises(RecordingError, match="cannot be opened") as error:
        open_recording(f"{address}/missing.nwb")
    assert error.value.where == f"{address}/missing.nwb"
    (tmp_path / "cell.nwb").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(10_000))
    handler.whole_only = True
    with pytest.raises(RecordingError, match="whole files only"):
        open_recording(f"{address}/cell.nwb")
    handler.whole_only = False
    with pytest.raises(RecordingError, match="damaged or truncated HDF5"):
        open_recording(f"{address}/cell.nwb")
