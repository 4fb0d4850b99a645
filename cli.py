"""The `edge-adapt` command: parses, calls the room that does the work, prints. Nothing heavy is imported before a
command runs.
"""

import argparse
import contextlib
import errno
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ._version import __version__
from .commands.output import safe_streams
from .commands.parser import Parser, printing_help
from .display import shown
from .errors import EdgeAdaptError, out_of_memory

COMMANDS = (
    "simulate",
    "compare",
    "count",
    "explain",
    "sensitivity",
    "repair",
    "pool",
    "methods",
    "models",
    "tasks",
    "devices",
    "fetch",
    "export",
    "train",
    "predict",
    "evaluate",
    "state",
    "merge-states",
    "plan",
    "completion",
)
NOTHING_KEPT = "nothing partial was left behind"
_LONGEST = 3000
"""Longer messages are cut in the middle."""


class Terminated(BaseException):
    """The process is asked to end (SIGTERM), and ends in order."""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(
        prog="edge-adapt",
        description="Adapt a frozen Transformer whose weights live in non-volatile crossbars, and know what it costs.",
        epilog="The main job: edge-adapt simulate --device reram",
    )
    parser.add_argument("--version", action="version", version=f"edge-adapt {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name in COMMANDS:
        importlib.import_module(f".commands.{name.replace('-', '_')}", __package__).add_parser(subparsers)
    printing_help(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 failure, 2 usage, 130 Ctrl-C, 143 SIGTERM. Raises SystemExit
    for --help and usage errors.
    """
    # The thread pools of numpy, torch and numba take turns on the same cores: a pool that spins while it waits slows
    # the others.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    words = sys.argv[1:] if argv is None else list(argv)
    with safe_streams("--json" in words), _orderly_end():
        return _run(words)


def _run(words: list[str]) -> int:
    args = argparse.Namespace(words=words, kept=None)
    try:
        parser = build_parser()
        if "_ARGCOMPLETE" in os.environ:  # a shell asks, with the Tab key
            from .commands.completion import complete

            complete(parser)
        args = parser.parse_args(words, args)
        code = int(args.run(args))
        sys.stdout.flush()  # here, so that a reader that has gone is noticed here
        return code
    except BaseException as error:
        return _ended(error, args)


def _ended(error: BaseException, args: argparse.Namespace) -> int:
    """The exit code of a command that raised, after a line that says why. What nobody foresaw is raised again."""
    stop = _stop_behind(error)
    if stop is not None:
        _say(f"stopped; {_kept(args)}")
        return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
    try:
        raise error
    except EdgeAdaptError as known:
        _say(f"error: {known}")
        return known.exit_code
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): not an error of ours. Keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as failed:
        where = f"{failed.filename}: " if failed.filename else ""
        _say(f"error: {where}{failed.strerror or failed}")
        return 2 if failed.errno == errno.ENAMETOOLONG else 1  # such a name was given
    except (MemoryError, RuntimeError) as full:
        if not out_of_memory(full):
            raise
        _say("error: not enough memory; use a smaller model or fewer methods at a time")
        return 1


def _stop_behind(error: BaseException) -> BaseException | None:
    """The Ctrl-C or SIGTERM that `error` is, or that led to it: an extension module that is stopped while it is
    imported, for one, raises ImportError from KeyboardInterrupt.
    """
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        if isinstance(found, KeyboardInterrupt | Terminated):
            return found
        seen.add(id(found))
        found = found.__cause__ or found.__context__
    return None


def _say(text: str) -> None:
    said = shown(text)
    if len(said) > _LONGEST:  # a value of a hundred thousand signs, as it stands in a file
        said = f"{said[: _LONGEST - 300]} ... {said[-290:]}"
    print(f"edge-adapt: {said}", file=sys.stderr)


def _kept(args: Any) -> str:
    """What a command that was stopped leaves behind, in words; commands with something to tell set `kept`."""
    try:
        return str(args.kept(args)) if args.kept is not None else NOTHING_KEPT
    except OSError:
        return NOTHING_KEPT


@contextlib.contextmanager
def _orderly_end() -> Iterator[None]:
    """Inside, SIGTERM ends a command as Ctrl-C does: nothing partial stays. Where somebody handles or ignores it
    already, or outside of the main thread, nothing changes.
    """

    def end(_number: int, _frame: object) -> None:
        raise Terminated

    try:
        former = signal.getsignal(signal.SIGTERM)
        ours = former == signal.SIG_DFL
        if ours:
            signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread
        ours = False
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
