"""How far a long run is, on stderr: one line that is rewritten on a terminal, a plain line now and then elsewhere.

This file imports nothing that takes time: its first line is there before torch is.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from ..studies.progress import Estimate, Progress, Work
from .clock import about, clock_time

_TERMINAL_SECONDS, _PIPE_SECONDS = 0.5, 10.0
_SPINNER = "|/-\\"


class TerminalProgress(Progress):
    """Shows the share done, the time that has passed, the time left and the stage. A context manager.

    `tick` shows the present; a thread calls it now and then, unless `ticking` is off. `terminal`: rewrite one line of
    `width` columns, and leave nothing of it behind. `afterwards`: seconds of what follows the work that is announced,
    such as writing a report, which imports what draws figures.
    """

    def __init__(
        self,
        what: str = "starting",
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        terminal: bool | None = None,
        width: int | None = None,
        ticking: bool = True,
        afterwards: float = 0.0,
    ) -> None:
        self._afterwards = afterwards
        self._stream = sys.stderr if stream is None else stream
        dumb = os.environ.get("TERM", "") in ("dumb", "unknown")
        self._terminal = (self._stream.isatty() and not dumb) if terminal is None else terminal
        self._width, self._clock, self._ticking = width, clock, ticking
        self._estimate = Estimate(clock)
        self._stage, self._turns = what, 0
        self._at_start = ""
        self._shown: float | None = None
        self._before_fetching, self._drawn = what, False
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "TerminalProgress":
        self.tick()
        if self._ticking:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        from ..workloads.fetch import listening

        self._around = contextlib.ExitStack()
        self._around.enter_context(listening(self._fetching))
        if self._terminal and self._stream is sys.stderr:
            self._around.enter_context(contextlib.redirect_stderr(_Cleared(self)))
        return self

    def __exit__(self, *_exception: object) -> None:
        self._around.close()
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._clear()

    def say_at_start(self, text: str) -> None:
        """Say something when the work begins: once all inputs are checked, and not where one of them ends the run."""
        self._at_start = text

    def start(self, work: Work | float) -> None:
        if self._afterwards and isinstance(work, Mapping):
            work = {**work, "afterwards": (1, self._afterwards)}
        with self._lock:
            self._estimate.start(work)
        self.say_held()

    def say_held(self) -> None:
        """Say now what waits for the work to begin, if it has not been said."""
        text, self._at_start = self._at_start, ""
        if text:
            self.say(text)

    def stage(self, text: str) -> None:
        with self._lock:
            self._stage = text
        self.tick()

    def advance(self, units: float = 1, kind: str = "") -> None:
        with self._lock:
            self._estimate.advance(units, kind)

    def say(self, text: str) -> None:
        with self._lock:
            self._clear()
            self._write(f"edge-adapt: {text}\n")

    def tick(self) -> None:
        """Show the present: on a terminal at once, elsewhere when the last line is some seconds old."""
        with self._lock:
            now = self._clock()
            if self._terminal:
                self._turns += 1
                self._drawn = True
                self._write(f"\r\033[K{self._line(self._columns())}")
            elif self._shown is None or now - self._shown >= _PIPE_SECONDS:
                self._shown = now
                self._write(f"[{self._numbers()}] {self._stage}\n")

    def _fetching(self, package: Any, arrived: int) -> None:
        """A stage for what has arrived of a package; the former one comes back after it."""
        if not arrived:
            self._before_fetching = self._stage
        if arrived >= package.size_bytes:
            self.stage(self._before_fetching)
        else:
            self.stage(f"fetching {package.requirement}: {megabytes(arrived)} of {megabytes(package.size_bytes)} MB")

    def _run(self) -> None:
        while not self._ended.wait(_TERMINAL_SECONDS if self._terminal else 1.0):
            self.tick()

    def _numbers(self) -> str:
        """12 %, elapsed 1:02, about 1:40 left; or, where nothing has been heard for long, longer than expected."""
        share, left = self._estimate.share, self._estimate.left
        elapsed = f"elapsed {clock_time(self._estimate.elapsed)}"
        if share is None or left is None:
            return elapsed
        rest = "longer than expected" if self._estimate.overdue else f"about {about(left)} left"
        return f"{min(99, int(100 * share)):2d} %, {elapsed}, {rest}"

    def _line(self, columns: int) -> str:
        """The numbers first, then as much of the stage as the line has room for."""
        text = f"{_SPINNER[self._turns % 4]} {self._numbers()}: {self._stage}"
        return text if len(text) < columns else f"{text[: max(0, columns - 4)]}..."

    def _columns(self) -> int:
        if self._width is not None:
            return self._width
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def clear(self) -> None:
        """Take the line away, for something else to be printed."""
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        if self._drawn:
            self._drawn = False
            self._write("\r\033[K")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads it any more: the run goes on
            pass


class _Cleared:
    """Standard error while a line of progress is shown: what others print takes the place of that line."""

    def __init__(self, progress: TerminalProgress):
        self._progress, self._stream = progress, sys.stderr

    def write(self, text: str) -> int:
        self._progress.clear()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def megabytes(size: float) -> str:
    """A size in MB: whole ones, tenths below ten."""
    return f"{size / 1e6:.0f}" if size >= 1e7 else f"{size / 1e6:.1f}"
