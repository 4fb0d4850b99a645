"""What the commands that run on a device share: opening a bundle, remarks and progress on stderr, in plain text."""

import logging
import re
import signal
import sys
import time
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..studies.progress import about, clock_time

if TYPE_CHECKING:
    from ..runtime.examples import Example
    from ..runtime.session import Session

_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def add_bundle(parser: Any) -> None:
    """The folder, and how many threads."""
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="folder that `edge-adapt export` wrote")
    parser.add_argument("--threads", metavar="N", type=int, help="threads of onnxruntime [all cores]")


def add_on_error(parser: Any) -> None:
    """What to do about a wrong line."""
    parser.add_argument(
        "--on-error", choices=("fail", "skip"), help="a wrong line is fatal, or left out and said [fail]"
    )


def open_bundle(folder: Path, threads: int | None = None, options: Any = None) -> "Session":
    """An open session whose remarks go to stderr."""
    from ..runtime.session import Session

    remarks_to_stderr()
    return Session(folder, threads=threads or 0, options=options)


def remarks_to_stderr() -> None:
    """Print what the runtime has to say, one line each."""
    logging.getLogger(f"{__package__.partition('.')[0]}.runtime").handlers = [_Remarks()]


def read_labelled(session: "Session", path: Path, on_error: str, teach: tuple[str, ...] = ()) -> list["Example"]:
    """The examples of a file, or of a folder of images, whose labels the session knows, `teach` included."""
    from ..runtime.examples import keep_known, read_examples, read_images

    taught = session.taught_with(teach)
    of_images = session.manifest.images is not None
    examples = read_images(path) if of_images else read_examples(path, on_error=on_error)
    return keep_known(examples, str(path), lambda label: session.wrong_label(label, taught), on_error)


def byte_count(text: str) -> int:
    """Bytes in words such as 300MB or 1.5GiB."""
    found = re.fullmatch(r"\s*([\d.]+)\s*([A-Za-z]*)\s*", text)
    units = {unit.lower(): factor for unit, factor in _UNITS.items()}
    if found is None or found[2].lower() not in units or found[1].count(".") > 1 or found[1] == ".":
        raise ArgumentTypeError(f"{text!r} is no size; write it as 300MB or 1.5GiB")
    return round(float(found[1]) * units[found[2].lower()])


class _Remarks(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"edge-adapt: {record.getMessage()}", file=sys.stderr, flush=True)


class UpdateLine:
    """Progress of a run on stderr: one line that is rewritten on a terminal, a line now and then elsewhere.

    A context manager that also turns Ctrl-C and the end of a service (SIGTERM) into an orderly stop after the update in
    progress; a second one ends at once.
    """

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._stop, self.signal_number = False, int(signal.SIGINT)
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "UpdateLine":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._request_stop)
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def __call__(self, done: int, total: int, loss: float) -> None:
        """After each update. Raises `StopTraining` when a stop was asked for."""
        if self._stop:
            from ..runtime.training import StopTraining

            raise StopTraining
        now = time.monotonic()
        left = (now - self._start) / done * (total - done)
        times = f"elapsed {clock_time(now - self._start)}, about {about(left)} left"
        text = f"update {done} of {total}, {times}, loss {loss:.4f}"
        if self._terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif now - self._last > 10:
            self._last = now
            print(f"edge-adapt: {text}", file=sys.stderr, flush=True)

    def _request_stop(self, number: int, _frame: object) -> None:
        self._stop, self.signal_number = True, number
        signal.signal(number, self._former[number])
