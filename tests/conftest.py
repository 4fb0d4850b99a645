"""For every test: no examples that depend on the clock or on chance, and children that start with the usual signals."""

import contextlib
import signal
from collections.abc import Callable, Iterator

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
