"""`edge-adapt completion`: the script that lets a shell complete commands, options and names with the Tab key."""

import argparse
from collections.abc import Callable, Iterable
from typing import Any

SHELLS = ("bash", "zsh", "fish")


def add_parser(subparsers: Any) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "completion",
        help="print the script that completes commands in your shell",
        description="Print a script for a shell. bash: add its output to ~/.bashrc; zsh: to ~/.zshrc; fish: to "
        "~/.config/fish/completions/edge-adapt.fish.",
        examples=["edge-adapt completion bash", "edge-adapt completion zsh", "edge-adapt completion fish"],
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from ..errors import require

    require("argcomplete")
    import argcomplete

    print(argcomplete.shellcode(["edge-adapt"], shell=args.shell))
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell that asks, and end the process; called before anything is parsed."""
    import argcomplete

    _name_values(parser)
    argcomplete.autocomplete(parser)


def _name_values(parser: argparse.ArgumentParser) -> None:
    """Let the options that take shipped names complete them; others complete files."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                _name_values(child)
        elif (names := _VALUES.get(action.dest)) is not None:
            action.completer = _Names(names)  # type: ignore[attr-defined]


class _Names:
    """Completes shipped names, and files where something was typed that begins none."""

    def __init__(self, names: Callable[[], Iterable[str]]):
        self._names = names

    def __call__(self, prefix: str, **_more: Any) -> list[str]:
        from argcomplete.completers import FilesCompleter

        found = [name for name in self._names() if name.startswith(prefix)]
        return found or list(FilesCompleter()(prefix))


def _chips() -> list[str]:
    from ..devices.presets import list_presets

    return list_presets("chip")


def _models() -> list[str]:
    from ..workloads.models import MODELS

    return list(MODELS)


def _tasks() -> list[str]:
    from .tasks import shipped_tasks

    return [record["name"] for record in shipped_tasks()]


_VALUES: dict[str, Callable[[], Iterable[str]]] = {
    "device": _chips, "devices": _chips, "chip": _chips, "model": _models, "task": _tasks, "tasks": _tasks,
}  # fmt: skip
