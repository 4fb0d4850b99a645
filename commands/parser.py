"""The parser of the command line: errors in one line with the nearest names, help with examples."""

import argparse
import itertools
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..display import shown
from ..errors import nearest


class Parser(argparse.ArgumentParser):
    """Usage errors in one line, with where to find help; exit code 2. `examples`: command lines that `--help` shows.

    Options are written out: `--device` is not short for `--devices`, which may mean other things.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any):
        if examples:
            options["epilog"] = "\n".join(
                [f"example{'' if len(examples) == 1 else 's'}:", *(f"  {e}" for e in examples)]
            )
            options["formatter_class"] = _WithExamples
        super().__init__(*args, **(options | {"allow_abbrev": False}))
        self.examples = tuple(examples)

    def error(self, message: str) -> NoReturn:
        if message.startswith("the following arguments are required") and self.examples:
            message += f"; for example: {self.examples[0]}"
        print(f"edge-adapt: error: {shown(message)} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse does, but a wrong option is an error at once, of the command that it was given to."""
        words = sys.argv[1:] if args is None else list(args)
        own = words
        if any(isinstance(action, argparse._SubParsersAction) for action in self._actions):
            own = list(itertools.takewhile(lambda word: word.startswith("-"), words))  # the rest is the command's
        self._require_known(own)
        found, rest = super().parse_known_args(words, namespace)
        if rest:
            self.error(f"nothing was expected after the other words; got {' '.join(rest)}")
        return found, rest

    def _require_known(self, words: list[str]) -> None:
        """An unknown long option, before argparse misses something else because of it."""
        for word in words:
            if word == "--":
                return
            name = word.partition("=")[0]
            known = [option for option in self._option_string_actions if option.startswith("--")]
            if name.startswith("--") and name not in known:
                self.error(f"unknown option {name}{self._without_option(name) or _meant(name, known)}")
            if len(name) == 2 and name[0] == "-" and name[1].isalpha() and name not in self._option_string_actions:
                self.error(f"unknown option {name}{self._without_option(name)}")

    def _without_option(self, given: str) -> str:
        """What to write where an option has the name of an argument that stands without one; "" where none has."""
        word = given.lstrip("-").lower()
        for action in self._actions:
            names = {action.dest, *str(action.metavar or "").lower().split("|")}
            names |= _FILES if names & _FILES else set()
            same = word in names or (len(word) == 1 and any(name.startswith(word) for name in names))
            if same and not action.option_strings:
                example = f", as in: {self.examples[0]}" if self.examples else ""
                return f": {action.metavar or action.dest} stands without an option before it{example}"
        return ""

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """argparse's own, which has no public place for this: nothing means something by an empty word, and as a path
        it would be the working folder.
        """
        if not arg_string and not isinstance(action, argparse._SubParsersAction):
            name = action.option_strings[-1] if action.option_strings else _name(action)
            self.error(f"{name} was given as an empty word")
        return super()._get_value(action, arg_string)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """argparse's own, which has no public place to put words in (before Python 3.14): the nearest names."""
        if action.choices is None or value in action.choices:
            return
        names = [str(name) for name in action.choices]
        kind = action.option_strings[-1] if action.option_strings else _name(action).lower()
        near = nearest(value, names)
        if isinstance(action, argparse._SubParsersAction):
            kind = "command"
            near = self._with_command(value, action.choices) or near
        self.error(f"unknown {kind} {value!r}{near} allowed: {', '.join(names)}")

    def _with_command(self, value: str, choices: Mapping[str, argparse.ArgumentParser]) -> str:
        """What to write where a word is no command but a file or folder that is there, and some commands here take
        one: the first of them; "" elsewhere.
        """
        if " " not in self.prog or not value or not Path(value).exists():
            return ""
        first = next((child for child in choices.values() if _takes_path(child)), None)
        return "" if first is None else f"; did you mean '{first.prog} {shlex.quote(value)}'?"


def _name(action: argparse.Action) -> str:
    return str(action.metavar or action.dest)


def _takes_path(parser: argparse.ArgumentParser) -> bool:
    """Whether the first word of a command is a file or a folder."""
    first = next((_name(action) for action in parser._actions if not action.option_strings), "")
    return not _PATHS.isdisjoint(first.upper().split("|"))


_PATHS = {"BUNDLE", "FILE", "FOLDER", "DIR", "POOL", "PATH"}
"""What arguments that are files or folders are called."""
_FILES = {"file", "out", "output", "data"}
"""Names of the argument that is a file; people give it by any of them."""


def _meant(given: str, known: Sequence[str]) -> str:
    """Which options may have been meant: those that begin as it does, or else the nearest."""
    longer = [option for option in known if option.startswith(given)][:2]
    if longer:
        return f"; did you mean {' or '.join(map(repr, longer))}?"
    near = nearest(given[2:], [option[2:] for option in known])
    return near.replace("'", "'--", 1).replace("or '", "or '--").rstrip(";")


class _WithExamples(argparse.HelpFormatter):
    """Leaves the lines of the examples as they are; everything else is wrapped."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example"):
            return text
        return super()._fill_text(text, width, indent)


def printing_help(parser: argparse.ArgumentParser) -> None:
    """Let every command that has commands of its own, given none, print its help and end well."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            action.required = False
            parser.set_defaults(run=lambda _args, parser=parser: _print_help(parser))
            for child in action.choices.values():
                printing_help(child)


def _print_help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return 0
