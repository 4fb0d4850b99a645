"""For every test: no examples that depend on the clock or on chance, children that start with the usual signals, and
children that are killed at a known call.
"""

import contextlib
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

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


@pytest.fixture
def synced_in_order() -> Callable[..., list[str]]:
    """synced_in_order(work, home): see `_synced_in_order`."""
    return _synced_in_order


_CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_NAMED = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate"}
"""Audit events of Python that a change of files begins with; a file that is opened to be changed is one, too."""

_AFTER_EXCHANGE = "ctypes.get_errno"
_BY_NUMBER = ("write", "fsync")
"""Calls on an open file, which Python does not tell of: our own go through `os`, where a child takes their place."""


def _killed(prepared: Callable[[], Path], work: Callable[[Path], Any], most: int = 1000) -> Iterator[Path]:
    """Do `work(folder)` again and again, each time in a child and on a new `prepared()` folder. The child is killed
    before the first call that changes a file or makes a change last, then before the second, and so on until it comes
    to the end; a write is half done when it is killed. Yields each folder as it was left.
    """
    for number in range(1, most):
        folder = prepared()
        child = os.fork()
        if child == 0:
            _die_at(number, str(folder))
            _work_and_end(work, folder)
        _, status = os.waitpid(child, 0)
        yield folder
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError(f"no end after {most} calls")


def _work_and_end(work: Callable[[Path], Any], folder: Path) -> NoReturn:
    try:
        work(folder)
    finally:
        failed = sys.exc_info()[1]
        if failed is not None:
            traceback.print_exception(failed)
        os._exit(failed is not None)


def _die_at(number: int, home: str) -> None:
    left = number

    def is_last() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(descriptor: int, *arguments: Any) -> Any:
            if os.path.isabs(path := _path_of(descriptor)) and path.startswith(home) and is_last():
                if name == "write":
                    real(descriptor, arguments[0][: len(arguments[0]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(descriptor, *arguments)

        return call

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if (event == _AFTER_EXCHANGE or _changes(event, arguments, home)) and is_last():
            os.kill(os.getpid(), signal.SIGKILL)

    for name in _BY_NUMBER:
        setattr(os, name, counted(name))
    sys.addaudithook(count)


def _path_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def _changes(event: str, arguments: tuple[Any, ...], home: str) -> bool:
    """Whether an audit event is a change of something in `home`; `shutil.rmtree` names what it removes by folder."""
    if event == "open":
        return isinstance(arguments[2], int) and bool(arguments[2] & _CHANGING) and _below(arguments[0], home)
    by_folder = event in ("os.remove", "os.rmdir") and arguments[1] >= 0
    return event in _NAMED and (by_folder or any(_below(name, home) for name in arguments))


def _below(name: Any, home: str) -> bool:
    return isinstance(name, str | os.PathLike) and str(os.fspath(name)).startswith(home)


def _synced_in_order(work: Callable[[], Any], home: Path, *exchanges: tuple[Any, str]) -> list[str]:
    """Do `work()` in a child, and return what is wrong with the order in which it changes what is in `home`, where the
    power may go at any instant: a name given to, or something removed before, what is not on the disk yet, and what is
    not there at the end. `exchanges`: (module, name) of functions that let two paths change places, given those.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        order = _Order(str(home))
        order.listen(exchanges)
        try:
            work()
            order.ends()
        except BaseException as failure:
            traceback.print_exception(failure)
            order.wrong.append(repr(failure))
        finally:
            order.deaf = True
            os.write(write_end, "\n".join([*order.wrong, f"{order.names} names"]).encode()[: 1 << 15])
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as told:
        *wrong, last = told.read().decode().splitlines()
    os.waitpid(child, 0)
    assert last != "0 names", "nothing was written at all"
    return wrong


class _Order:
    """Files that are written and not synced, and folders whose new names are not; what is wrong with their order.

    A lock has no content, and what lies in a folder in the making (.tmp-...) need not last under its name there.
    """

    def __init__(self, home: str) -> None:
        self.home, self.deaf = home, False
        self.files: set[str] = set()
        self.folders: set[str] = set()
        self.wrong: list[str] = []
        self.names = 0

    def listen(self, exchanges: tuple[tuple[Any, str], ...]) -> None:
        real = os.fsync

        def sync(descriptor: int) -> None:
            real(descriptor)
            self.files.discard(path := _path_of(descriptor))
            self.folders.discard(path)

        os.fsync = sync
        for module, name in exchanges:
            setattr(module, name, self._exchanging(getattr(module, name)))
        sys.addaudithook(self._hear)

    def ends(self) -> None:
        self.wrong += [f"{path} is not on the disk at the end" for path in self._open() if os.path.lexists(path)]

    def _exchanging(self, real: Callable[[Path, Path], bool]) -> Callable[[Path, Path], bool]:
        def exchanged(one: Path, other: Path) -> bool:
            self._named(str(one), str(other))
            return real(one, other)

        return exchanged

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.deaf or not _changes(event, arguments, self.home):
            return
        if event == "open":
            path = str(os.fspath(arguments[0]))
            if not path.endswith("/lock"):
                self.files.add(path)
                self.folders.add(os.path.dirname(path))
        elif event == "os.mkdir":
            path = str(os.fspath(arguments[0]))
            if not os.path.exists(path) and "/.tmp-" not in path:
                self.folders.add(os.path.dirname(path))
        elif event == "os.rename":
            self._named(*(str(os.fspath(path)) for path in arguments[:2]))
        elif self.names and (pending := self._open()):
            self.wrong.append(f"{arguments[0]} is removed before {pending[0]} is on the disk")

    def _named(self, source: str, target: str) -> None:
        self.names += 1
        inside = [path for path in (*self.files, *self.folders) if path == source or path.startswith(source + "/")]
        if inside:
            self.wrong.append(f"{target} is the name of something not on the disk yet: {inside[0]}")
        self.files -= set(inside)
        self.folders.add(os.path.dirname(target))

    def _open(self) -> list[str]:
        return sorted(path for path in self.files | self.folders if "/.tmp-" not in path)


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
"""How many of each file are tried; without it, as many as take a moment. With it, each of them may take at most
`SECONDS` of processor time, and `MEGABYTES` above what the process held before it.
"""
SECONDS, MEGABYTES = 10.0, 500.0


@pytest.fixture
def mutants() -> Callable[[bytes, int], Iterator[bytes]]:
    """mutants(content, few): see `_mutants`; `few` of them, or as many as EDGE_ADAPT_MUTATIONS says."""
    return lambda content, few: _watched(_mutants(content, MUTATIONS, 1)) if MUTATIONS else _mutants(content, few, 1)


def _watched(mutants: Iterator[bytes]) -> Iterator[bytes]:
    """The same, and how much time and memory passes until the next one is asked for; prints the most of each."""
    seconds = megabytes = 0.0
    count = 0
    for mutant in mutants:
        Path("/proc/self/clear_refs").write_text("5")  # the peak of memory starts anew
        held, start = _megabytes("VmRSS"), sum(os.times()[:4])  # children, too
        yield mutant
        count += 1
        seconds, megabytes = max(seconds, sum(os.times()[:4]) - start), max(megabytes, _megabytes("VmHWM") - held)
        assert seconds <= SECONDS and megabytes <= MEGABYTES, (seconds, megabytes, mutant[:2000])
    print(f"\n{count} mutants, at most {seconds:.2f} s of processor time and {megabytes:.0f} MB")


def _megabytes(name: str) -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024
