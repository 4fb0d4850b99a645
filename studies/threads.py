"""One thread for a part of a study, and its memory given back when it is done."""

import contextlib
import ctypes
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch, the kernels of the simulator and numpy's products use one thread, as in the helpers."""
    import numba
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])


def release() -> None:
    """Give the memory of a finished part back to the system: models and chips refer to each other in cycles, and the
    C library keeps what it is given back.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # other C libraries than glibc have no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
