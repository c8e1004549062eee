"""Ctrl-C in compiled code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def plain_interrupts() -> Iterator[None]:
    """Let Ctrl-C be KeyboardInterrupt even where it came while compiled code was running.

    A compiled function that returns while the signal is pending ends in a SystemError caused by
    the KeyboardInterrupt.
    """
    try:
        yield
    except SystemError as error:
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
