"""For every test: no examples that depend on the clock or on chance, children that start with the usual signals, and
children that are killed at a known call.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# On a busy machine an example may take any time, and what fails once must fail again.
settings.register_profile(
    "any machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip
settings.load_profile("any machine")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextlib.contextmanager
def _usual() -> Iterator[None]:
    former = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in former.items():
            signal.signal(number, handler)


@pytest.fixture
def usual_signals() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """with usual_signals(): what is started here can be interrupted, even if the tests were started by a shell that
    ignores or blocks Ctrl-C (`trap '' INT`, `nohup`, a job in the background), which children would inherit.
    """
    return _usual


@pytest.fixture
def killed_at_every_call() -> Callable[..., Iterator[Path]]:
    """killed_at_every_call(prepared, work): see `_killed`."""
    return _killed


_CALLS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate", "ctypes.get_errno"}
"""Audit events of Python that a change of files begins with (and the one that follows an exchange of two folders)."""


def _killed(prepared: Callable[[], Path], work: Callable[[Path], Any], most: int = 1000) -> Iterator[Path]:
    """Do `work(folder)` again and again, each time in a child and on a new `prepared()` folder. The child is killed
    before its first call of the file system, then before its second, and so on until it comes to the end; yields each
    folder as it was left.
    """
    for number in range(1, most):
        folder = prepared()
        child = os.fork()
        if child == 0:
            _die_at(number, str(folder))
            try:
                work(folder)
            finally:
                os._exit(0 if sys.exc_info()[0] is None else 1)
        _, status = os.waitpid(child, 0)
        yield folder
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError(f"no end after {most} calls")


def _die_at(number: int, home: str) -> None:
    left = number

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event not in _CALLS:
            return
        named = [str(os.fspath(a)) for a in arguments if isinstance(a, str | os.PathLike)]
        if event == "ctypes.get_errno" or any(name.startswith(home) for name in named):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
