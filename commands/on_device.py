"""What the commands that run on a device share: opening a bundle, remarks and progress on stderr, in plain text."""

import logging
import re
import signal
import sys
import time
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..display import shown
from .clock import about, clock_time

if TYPE_CHECKING:
    from ..runtime.examples import Example, Reading
    from ..runtime.session import Session

_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def add_bundle(parser: Any) -> None:
    """The folder, and how many threads."""
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="folder that `edge-adapt export` wrote")
    parser.add_argument("--threads", metavar="N", type=int, help="threads of onnxruntime [all cores]")


DATA_OPTIONS = ("text_column", "label_column", "encoding", "on_error")
"""How a user's file is read: the fields of `runtime.examples.Reading`."""


def add_data_options(parser: Any) -> None:
    """How a user's file is read."""
    add = parser.add_argument
    add("--text-column", metavar="NAME", help="column, or key in JSONL, that holds the texts of your file [text]")
    add("--label-column", metavar="NAME", help="column, or key in JSONL, that holds the labels of your file [label]")
    add("--encoding", metavar="NAME", help="of your file, such as latin-1 [by its byte order mark, else utf-8]")
    add(
        "--on-error",
        choices=("fail", "skip"),
        help="a wrong line ends the command, or is left out, which is said [fail]",
    )


def reading_of(given: Any) -> "Reading":
    """How files are read, from parsed arguments or a configuration with their names."""
    from ..runtime.examples import Reading

    return Reading(**{name: value for name in DATA_OPTIONS if (value := getattr(given, name)) is not None})


def open_bundle(folder: Path, threads: int | None = None, options: Any = None) -> "Session":
    """An open session whose remarks go to stderr."""
    from ..runtime.session import Session

    remarks_to_stderr()
    return Session(folder, threads=threads or 0, options=options)


def say_if_untrained(session: "Session") -> None:
    """Say on stderr that labels mean nothing yet: the head of a fresh or reset bundle is zero for every class."""
    if not session.state["head.weight"].any():
        print(
            f"edge-adapt: the head of this bundle is not trained: every class is as likely as any other, and the label "
            f"means nothing; train it first: edge-adapt train {session.folder} FILE",
            file=sys.stderr,
        )


def remarks_to_stderr() -> None:
    """Print what the runtime has to say, one line each."""
    logging.getLogger(f"{__package__.partition('.')[0]}.runtime").handlers = [_Remarks()]


def read_labelled(session: "Session", path: Path, reading: "Reading", teach: tuple[str, ...] = ()) -> list["Example"]:
    """The examples of a file, or of a folder of images, whose labels the session knows, `teach` included."""
    from ..runtime.examples import keep_known

    taught = session.taught_with(teach)
    of_images = session.manifest.images is not None
    examples = read_given(session, path, reading)
    check = lambda label: session.wrong_label(label, taught)
    return keep_known(examples, str(path), check, reading.on_error, "image" if of_images else "line")


def read_given(session: "Session", path: Path, reading: "Reading", labelled: bool = True) -> list["Example"]:
    """The examples of a file of texts, or of a folder of images, whichever the bundle is about. Raises `UsageError` for
    the other of the two, and for what cannot be read.
    """
    from ..errors import UsageError
    from ..runtime.examples import SUFFIXES, read_examples
    from ..runtime.pictures import read_pictures

    kinds, folder = ", ".join(SUFFIXES), "a folder with a folder of images for each label"
    if session.manifest.images is None:
        if path.is_dir():
            wanted = "with texts and labels" if labelled else "with texts, or one of plain lines"
            wanted = f"a {kinds} file {wanted}"
            raise UsageError(f"{path} is a folder, and this bundle labels texts: give {wanted}")
        return read_examples(path, reading, labelled=labelled)
    if path.is_file() and (labelled or path.suffix.lower() in (*SUFFIXES, ".txt", ".json")):
        wanted = folder if labelled else "an image, or a folder of images"
        given = "a file" if labelled else "a file of texts"
        raise UsageError(f"{path} is {given}, and this bundle labels images: give {wanted}")
    return read_pictures(path, reading.on_error, labelled=labelled)


def byte_count(text: str) -> int:
    """Bytes in words such as 300MB or 1.5GiB."""
    found = re.fullmatch(r"\s*([\d.]+)\s*([A-Za-z]*)\s*", text)
    units = {unit.lower(): factor for unit, factor in _UNITS.items()}
    if found is None or found[2].lower() not in units or found[1].count(".") > 1 or found[1] == ".":
        raise ArgumentTypeError(f"{text!r} is no size; write it as 300MB or 1.5GiB")
    return round(float(found[1]) * units[found[2].lower()])


def updates(number: int) -> str:
    """ "1 update", "20 updates"."""
    return f"{number} update{'' if number == 1 else 's'}"


class _Remarks(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"edge-adapt: {shown(record.getMessage())}", file=sys.stderr, flush=True)


class UpdateLine:
    """Progress of a run on stderr: one line that is rewritten on a terminal, a line now and then elsewhere.

    A context manager that also turns Ctrl-C and the end of a service (SIGTERM) into an orderly stop after the update in
    progress; a second one ends at once. A signal that whoever started us has us ignore (`nohup`, a job in the
    background) stays ignored.
    """

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._stop, self.signal_number = False, int(signal.SIGINT)
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "UpdateLine":
        for number in (signal.SIGINT, signal.SIGTERM):
            former = signal.getsignal(number)
            if former not in (signal.SIG_IGN, None):
                self._former[number] = former
                signal.signal(number, self._request_stop)
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
