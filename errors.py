"""The errors a user can cause, each with the exit code the command line gives it.

Every message says what was wrong, what was given, what is allowed (nearest name first) and how to mend it. One rule for
exit codes (docs/options.md): what is wrong with something that the user gave, a file or folder included, exits 2; what
fails although all of that was right exits 1.
"""

import difflib
import re
from collections.abc import Iterable, Sequence


class EdgeAdaptError(Exception):
    """A failure a user can understand and mend; printed as one line, never as a traceback. Exit code 1."""

    exit_code = 1


class UsageError(EdgeAdaptError):
    """What was asked for cannot be: a wrong name, key, unit, option or input file. Exit code 2."""

    exit_code = 2


class MissingExtraError(EdgeAdaptError):
    """A package of an optional extra is not installed. Exit code 1."""


def unknown_name(kind: str, given: object, allowed: Iterable[str], where: str = "") -> str:
    """One sentence for a name that does not exist, with the nearest allowed ones first; `where`: "in the file", "of x".

    >>> unknown_name("device", "rerem", ["reram", "pcm"])
    "unknown device 'rerem'; did you mean 'reram'? allowed: pcm, reram"
    """
    names = sorted(allowed)
    place = f" {where}" if where else ""
    return f"unknown {kind} {given!r}{place}{nearest(given, names)} allowed: {', '.join(names)}"


def nearest(given: object, names: Sequence[str], before: str = "") -> str:
    """What follows a wrong name: the one or two names that it may have been, if any come near.

    `before` is put before each of them. Near is a name most of whose letters are there in the same order, or one that
    holds the given word, or else its letters, as they stand.

    >>> nearest("mnist", ["fashion-mnist", "movie"]), nearest("foo", ["sonos"])
    ("; did you mean 'fashion-mnist'?", ';')
    """
    word = str(given)
    near = difflib.get_close_matches(word, names, n=2, cutoff=0.6)
    holding = sorted((name for name in names if word and word in re.split(r"\W+", name)), key=len)
    if holding and not difflib.get_close_matches(word, names, n=1, cutoff=0.7):
        near = holding[:2]
    near = near or [name for name in names if len(word) > 2 and word in name][:2]
    return f"; did you mean {' or '.join(repr(before + name) for name in near)}?" if near else ";"


def require(module: str, extra: str = "host") -> None:
    """Raise `MissingExtraError` naming the extra when `module` cannot be imported.

    Only looks for the module, does not import it.
    """
    import importlib.util

    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(
            f"this needs the package {module!r}, which is not installed: pip install 'edge-adapt[{extra}]'"
        )


def out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: Python's own error, or that of torch, which is a RuntimeError by its words alone."""
    words = ("can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)
