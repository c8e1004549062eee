"""Opens damaged inputs one after another, in a process of its own that may die.

    python fuzz_child.py JOBS

JOBS is a JSON file: [[name, path, options], ...]. One line of JSON is printed per input.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

SECONDS = 10
BYTES = 6 * 2**30


def look(path: str, options: dict) -> str:
    """What a careful user does with a recording: open, validate, read."""
    from neuromodels.datasets.errors import InputError
    from neuromodels.datasets.opening import open_recording

    try:
        recording = open_recording(path, **options)
    except InputError as error:
        return clear(error)
    try:
        recording.validate().raise_errors()
    except InputError as error:
        return clear(error)
    finally:
        recording.close()
    return "opened"


def clear(error) -> str:
    from neuromodels.datasets.errors import RecordingError

    if not isinstance(error, RecordingError):
        return f"TRACEBACK: {type(error).__name__} is no RecordingError: {error}"
    if not (error.where and error.what and error.remedy):
        return f"TRACEBACK: unclear: {error!r}"
    return "refused"


class Hang(BaseException):
    """No `except` for errors catches it."""


def stop(*_):
    raise Hang(f"longer than {SECONDS} s")


def main() -> None:
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    signal.signal(signal.SIGALRM, stop)
    for name, path, options in json.loads(Path(sys.argv[1]).read_text()):
        print(json.dumps(["start", name]), flush=True)
        began = time.perf_counter()
        signal.alarm(SECONDS)
        try:
            outcome = look(path, options)
        except BaseException:
            outcome = "TRACEBACK: " + traceback.format_exc()
        signal.alarm(0)
        print(json.dumps([outcome, name, time.perf_counter() - began]), flush=True)


if __name__ == "__main__":
    main()
