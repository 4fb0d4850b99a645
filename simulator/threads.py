"""Parts of a read on several threads, each with matrix products of one thread.

A product library that has threads of its own lets them wait in a loop for the next product; whoever else wants the
core meanwhile, a kernel say, waits for milliseconds. So a read is cut into parts that need nothing from each other, all
of a part is done on one thread, and the library gets no more than the one it is called from.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numba

from ..errors import require

_one_at_a_time = threading.Lock()


@lru_cache(maxsize=1)
def _libraries() -> Any:
    require("threadpoolctl")
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "edge-adapt")


def in_parts(work: Callable[[int, int], None], parts: int) -> None:
    """Call work(part, worker) for every part, on as many threads as the kernels use; `worker` counts them from 0.

    The calling thread is worker 0. While another thread is in here, the parts run one after another.
    """
    threads = min(parts, numba.get_num_threads())
    if threads <= 1 or not _one_at_a_time.acquire(blocking=False):
        with _libraries().limit(limits=1):
            for part in range(parts):
                work(part, 0)
        return
    try:
        remaining = iter(range(parts))
        turn = threading.Lock()

        def run(worker: int) -> None:
            while True:
                with turn:
                    part = next(remaining, None)
                if part is None:
                    return
                work(part, worker)

        with _libraries().limit(limits=1):
            others = [_pool(threads - 1).submit(run, worker) for worker in range(1, threads)]
            run(0)
            for other in others:
                other.result()
    finally:
        _one_at_a_time.release()
