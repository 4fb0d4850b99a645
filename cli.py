"""The `edge-adapt` command: parses, calls the room that does the work, prints. Nothing heavy is imported before a
command runs.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from ._version import __version__
from .errors import EdgeAdaptError

COMMANDS = (
    "simulate",
    "compare",
    "count",
    "explain",
    "pool",
    "methods",
    "devices",
    "fetch",
    "export",
    "train",
    "predict",
    "evaluate",
    "state",
    "plan",
)


class Parser(argparse.ArgumentParser):
    """Usage errors in one line, with where to find help; exit code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        print(f"edge-adapt: error: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(
        prog="edge-adapt",
        description="Adapt a frozen Transformer whose weights live in non-volatile crossbars, and know what it costs.",
        epilog="The main job: edge-adapt simulate --device reram",
    )
    parser.add_argument("--version", action="version", version=f"edge-adapt {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f".commands.{name}", __package__).add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 failure, 2 usage. Raises SystemExit for --help and usage
    errors.
    """
    # The thread pools of numpy, torch and numba take turns on the same cores: a pool that spins while it waits slows
    # the others.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    try:
        words = sys.argv[1:] if argv is None else list(argv)
        args = build_parser().parse_args(words, argparse.Namespace(words=words))
        code = int(args.run(args))
        sys.stdout.flush()  # here, so that a reader that has gone is noticed here
        return code
    except EdgeAdaptError as error:
        print(f"edge-adapt: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("edge-adapt: stopped; nothing partial was left behind", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): not an error of ours. Keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        print(f"edge-adapt: error: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    except MemoryError:
        print("edge-adapt: error: not enough memory; use a smaller model or fewer methods at a time", file=sys.stderr)
        return 1
