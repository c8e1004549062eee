"""What a session of spikes and a movie is refused for."""

import numpy as np
import pytest

from neuromodels.datasets.errors import InputError
from neuromodels.datasets.spikes import recording_from_spikes


@pytest.fixture
def movie():
    return np.random.default_rng(0).integers(0, 2, (600, 4, 5), dtype=np.uint8)


def spikes(scale=1.0):
    rng = np.random.default_rng(1)
    return {str(i): np.sort(rng.uniform(0, 20, 1500)) * scale for i in range(2)}


@pytest.mark.parametrize(("scale", "said"), [(1e3, "milliseconds"), (30_000, "samples")])
def test_spikes_in_another_unit_are_refused_though_a_few_fall_into_the_movie(movie, scale, said):
    with pytest.raises(InputError, match="spike") as error:
        recording_from_spikes(spikes(scale), movie, frame_rate=30, start=0.0)
    assert said in error.value.remedy


def test_a_long_recording_with_a_short_movie_is_no_error(movie):
    rng = np.random.default_rng(1)
    long = {"a": np.sort(rng.uniform(0, 2000, 6000))}
    recording = recording_from_spikes(long, movie, frame_rate=30, start=900.0)
    assert recording.train["response"].sum() > 20


def test_a_movie_with_time_last_is_told_from_the_number_of_times(movie):
    times = np.arange(600) / 30
    with pytest.raises(InputError, match="axis 2 is 600 long") as error:
        recording_from_spikes(spikes(), np.moveaxis(movie, 0, -1), frame_times=times)
    assert "moveaxis" in error.value.remedy
    with pytest.raises(InputError, match="axis 2 is 600 long"):
        recording_from_spikes(
            spikes(), np.moveaxis(movie, 0, -1), triggers=times[::10], frames_per_trigger=10
        )


def test_a_session_of_repeats_alone_says_that_nothing_is_left_to_train_on(movie):
    starts = [0.0, 5.0, 10.0, 15.0]
    recording = recording_from_spikes(spikes(), movie[:120], frame_rate=30, start=starts)
    assert recording.roles() == ("test",)
    assert any("nothing is left to train on" in note for note in recording.attrs["notes"])
