"""Ctrl-C while compiled code is running."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def held_interrupts() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back, and let it through only where the work can be left.

    A compiled function that is running when the signal comes ends in a SystemError, and a signal
    in a destructor is swallowed. Within this context the signal is only noted.

    Yields
    ------
    callable
        Raises KeyboardInterrupt if the signal has come; to be called between pieces of work.
    """
    came = False

    def note(*_: object) -> None:
        nonlocal came
        came = True

    def let_through() -> None:
        nonlocal came
        if came:
            came = False
            raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    # Whoever has a handler of their own keeps it.
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield let_through
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield let_through
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    let_through()


@contextmanager
def plain_interrupts() -> Iterator[None]:
    """Let Ctrl-C be KeyboardInterrupt where compiled code has turned it into a SystemError."""
    try:
        yield
    except SystemError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            cause = cause.__cause__ or cause.__context__
        raise
