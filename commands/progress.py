"""A progress bar with the time left, on stderr; plain lines where stderr is no terminal."""

import sys
import time

from ..studies.progress import Progress


class TerminalProgress(Progress):
    """Shows the stage, the share done and the time left. A context manager."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars

        self._console = Console(stderr=True)
        self._bars = Bars(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=self._console, transient=True, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bars.add_task("starting", total=None)
        self._start = self._last = time.monotonic()

    def __enter__(self) -> "TerminalProgress":
        self._bars.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bars.stop()

    def start(self, total: int) -> None:
        self._bars.update(self._task, total=total)

    def stage(self, text: str) -> None:
        self._bars.update(self._task, description=text)
        # Without a terminal, a line now and then shows that the job is alive.
        if not self._console.is_terminal and time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            task = self._bars.tasks[0]
            done = f"{100 * task.completed / task.total:.0f} %" if task.total else "0 %"
            print(f"[{self._last - self._start:5.0f} s, {done}] {text}", file=sys.stderr, flush=True)

    def remark(self, text: str) -> None:
        """What a user should know before the work is done, on a line of its own."""
        self._console.print(f"edge-adapt: {text}", markup=False, highlight=False, soft_wrap=True)

    def advance(self, units: int = 1) -> None:
        self._bars.advance(self._task, units)
