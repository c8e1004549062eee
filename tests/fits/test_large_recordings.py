"""A movie larger than memory is fitted, within the bound that is stated (docs/performance.md)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from memory_harness import CHECK, FIELDS, SIDE

from neuromodels.datasets.blocks import Block
from neuromodels.datasets.errors import InputError
from neuromodels.datasets.frames import Frames, lazy_variable, memory_bound, read_frames

HARNESS = Path(__file__).parents[1] / "support" / "memory_harness.py"
#: The bound that the fits are told, GB, and what the process may take besides its imports: bound,
#: heap that the allocator keeps, results.
BOUND_GB, ALLOWED = 0.08, 150_000_000

needs_linux = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the limit is on Linux's VmData"
)


def run(*arguments: object) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "NEUROMODELS_MEMORY_GB": str(BOUND_GB),
        # What is freed goes back at once: the limit is on what is reserved, used or not.
        "MALLOC_MMAP_THRESHOLD_": "1000000",
    }
    return subprocess.run(
        [sys.executable, str(HARNESS), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def fitted_within(
    path: Path, n_frames: int, models: str, times: float, allowed: int = ALLOWED
) -> dict:
    """Write a recording `times` larger than the limit, fit it below the limit, check the fits."""
    assert run("write", path, n_frames).returncode == 0
    movie = n_frames * SIDE * SIDE * 4
    assert movie > times * allowed
    assert json.loads(run(path, allowed, "whole").stdout) == {"refused": True}
    done = run(path, allowed, models)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["peak"] < allowed
    for name in models.split(","):
        assert np.isfinite(found["bits"][name]).all()
        if name in ("ln", "glm"):
            assert found[name] == [list(field) for field in FIELDS]
            assert min(found["bits"][name]) > 0.3
    return found


@needs_linux
def test_a_movie_three_times_the_memory_limit_is_fitted(tmp_path):
    fitted_within(tmp_path / "large.h5", 8000, "ln", 3)


@needs_linux
@pytest.mark.slow
def test_a_movie_three_times_the_memory_limit_is_fitted_by_all_models(tmp_path):
    fitted_within(tmp_path / "large.h5", 8000, "ln,glm,retina-cnn", 3)


@needs_linux
@pytest.mark.slow
def test_a_movie_several_times_all_memory_of_the_process_is_fitted(tmp_path):
    # Responses and what is computed per bin are outside of the bound, so more bins take more.
    n_frames, allowed = 40_000, 230_000_000
    found = fitted_within(tmp_path / "large.h5", n_frames, "ln,glm,retina-cnn", 10, allowed)
    # The limit that the process had, what its imports took included.
    assert n_frames * SIDE * SIDE * 4 > 3 * (found["data"] + allowed)


class CountingSource:
    """Frames on disk that note what was asked for."""

    def __init__(self, frames):
        self.frames, self.shape, self.dtype, self.read = frames, frames.shape, frames.dtype, []

    def __getitem__(self, key):
        part = self.frames[key]
        self.read.append(len(part))
        return part


def numbered(n=1000):
    return np.arange(n * 6, dtype=np.float32).reshape(n, 2, 3)


def test_frames_in_any_order_are_read_without_those_between(monkeypatch):
    monkeypatch.setenv("NEUROMODELS_MEMORY_GB", "1e-6")
    source = CountingSource(numbered())
    frames = Frames(lazy_variable(("frame", "y", "x"), source))
    index = np.array([990, 3, 4, 500, 4, 990])
    np.testing.assert_array_equal(read_frames(frames, index)[:, 0], source.frames[index])
    assert sum(source.read) <= 12
    block = Block(0, np.arange(6.0), np.zeros((6, 1), np.int32), index, frames)
    source.read.clear()
    assert block.frame_shape == (1, 2, 3)
    assert source.read == []
    np.testing.assert_array_equal(block.movie()[:, 0], source.frames[index])


def test_movies_are_kept_only_while_all_of_them_fit_a_quarter_of_the_bound(monkeypatch):
    one = numbered().nbytes
    # Movies that other tests keep count as well: room for one more, and not for two.
    from neuromodels.datasets import frames as module

    monkeypatch.setattr(module, "_keeping", type(module._keeping)())
    monkeypatch.setenv("NEUROMODELS_MEMORY_GB", str(1.5 * 4 * one / 2**30))
    first, second = (Frames(lazy_variable(("frame", "y", "x"), numbered())) for _ in range(2))
    first[0:1], second[0:1]
    assert first.kept
    assert not second.kept


@pytest.mark.parametrize("said", ["much", "0", "-1", "inf", "nan"])
def test_a_bound_that_is_no_number_is_refused(monkeypatch, said):
    monkeypatch.setenv("NEUROMODELS_MEMORY_GB", said)
    with pytest.raises(InputError, match="NEUROMODELS_MEMORY_GB"):
        memory_bound()


def test_the_harness_shows_fields_inside_the_frame():
    assert np.max(FIELDS) < SIDE // CHECK
