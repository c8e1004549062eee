"""Spread independent pieces of work over the cores, with results that do not depend on how many.

Threads of our own, each with a single-threaded BLAS, meet once per product; BLAS's own threads meet
at every chunk, which is slow as soon as another program uses a core.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, most: int | None = None
) -> Iterator[tuple[Item, Result]]:
    """Apply a function to items in as many threads as BLAS may use; yield in order.

    Only a few items are in flight at a time, so that they may be blocks read from disk. `most`
    bounds the number of threads, for work that needs much memory.
    """
    controller = _controller()
    threads = max([library.num_threads for library in controller.lib_controllers], default=1)
    if threads == 1:
        for item in items:
            yield item, function(item)
        return
    threads = threads if most is None else min(threads, most)
    with controller.limit(limits=1), ThreadPoolExecutor(threads) as pool:
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > 2 * threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            # After an error or Ctrl-C nothing new begins.
            for _, future in waiting:
                future.cancel()
