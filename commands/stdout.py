"""Standard output kept for what a command itself prints."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def kept_clear() -> Iterator[None]:
    """While work goes on, whatever any library prints goes to stderr, also from C and from child processes: stdout is
    for the one result that follows, which another program may read.
    """
    sys.stdout.flush()
    with contextlib.redirect_stdout(sys.stderr), _descriptor_redirected():
        yield


@contextlib.contextmanager
def _descriptor_redirected() -> Iterator[None]:
    """Descriptor 1 leads to where 2 does; nothing is changed where one of them is closed."""
    try:
        before = os.dup(1)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):
            os.dup2(2, 1)
        yield
    finally:
        with contextlib.suppress(OSError, AttributeError, TypeError):  # where there is no C library to be found
            ctypes.CDLL(None).fflush(None)  # what C has printed so far is still in its buffer
        os.dup2(before, 1)
        os.close(before)
