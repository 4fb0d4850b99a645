"""For every test: no examples that depend on the clock or on chance, children that start with the usual signals, and
children that are killed at a known call.
"""

import contextlib
import json
import os
import random
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


EXTREMES = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 10**299, -(10**30), 0.5, -0.0, 1e308, 1e-308, "", " ",
    "x" * 3000, "[/bold]", "\x1b[2J", "../../etc/passwd", "/dev/zero", "\ud83d\ude00", "NaN", [], {}, [[]],
    [0] * 200, {"": None}, "\u202e", "%s{}$",
)  # fmt: skip
TOKENS = (
    b"\0", b"\xff\xfe", b"\x1b[31m", b"1" * 5000, b"NaN", b"Infinity", b"-1", b"1e999", b"[" * 3000,
    b"{" * 3000, b"*a", b"&a ", b"!!int zz",
    b"\r", b"\n\n", b"\t", b"'", b'"', b":", b",", b"- ", b"\\ud800",
    b"2024-99-99", b"\xc3", b"<<: ", b"%", b"|", b"\x80" * 8,
)  # fmt: skip


def _mutants(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`count` spoilt copies of a file, the same ones each time: bits turned, parts cut out, doubled, swapped or
    replaced; of JSON half of them with the value of some field changed, doubled, or gone.
    """
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        if value is not None and number % 2:
            yield json.dumps(_spoilt(json.loads(content), rng), indent=1).encode()
        else:
            yield _garbled(content, rng)


def _garbled(content: bytes, rng: random.Random) -> bytes:
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        a, b, c = sorted(rng.randrange(len(made) + 1) for _ in range(3))
        b = min(b, a + rng.choice((1, 8, 200)))
        kind = rng.randrange(6)
        if kind == 0 and made:
            made[min(a, len(made) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del made[a : len(made) if rng.random() < 0.3 else b]
        elif kind == 2:
            made[a:a] = made[a:b]
        elif kind == 3:
            made[a:c] = made[b:c] + made[a:b]
        elif kind == 4:
            made[a:a] = rng.choice(TOKENS)
        else:
            made[a:b] = rng.choice(TOKENS)
    return bytes(made)


def _spoilt(value: Any, rng: random.Random) -> Any:
    holders: list[Any] = []
    level = [value]
    while level:
        inner = level.pop()
        if isinstance(inner, dict | list) and inner:
            holders.append(inner)
            level += list(inner.values()) if isinstance(inner, dict) else inner[:20]
    for _ in range(rng.choice((1, 1, 1, 3))):
        holder = rng.choice(holders) if holders else [value]
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            continue
        key, kind = rng.choice(keys), rng.randrange(5)
        if kind == 0:
            holder.pop(key)
        elif kind == 1 and isinstance(holder, dict):
            holder[f"{key}x"] = holder[key]
        elif kind == 2:
            other = rng.choice(keys)
            holder[key], holder[other] = holder[other], holder[key]
        else:
            holder[key] = rng.choice(EXTREMES)
    return value


MUTATIONS = int(os.environ.get("EDGE_ADAPT_MUTATIONS", "0"))
"""How many of each file are tried; without it, as many as take a moment."""


@pytest.fixture
def mutants() -> Callable[[bytes, int], Iterator[bytes]]:
    """mutants(content, few): see `_mutants`; `few` of them, or as many as EDGE_ADAPT_MUTATIONS says."""
    return lambda content, few: _mutants(content, MUTATIONS or few, 1)
