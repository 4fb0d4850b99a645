"""Regular expressions from a stranger's file, matched by Python's rules and in bounded time.

Some expressions never come to an end, and nothing tells which. Those that are plainly harmless are matched here; any
other one in a child process, which has a second of processor time for all that is asked of it.
"""

import contextlib
import functools
import json
import re
import subprocess
import sys
import weakref
from typing import Any

from ..errors import UsageError

MOST_SIGNS = 2000
_NAME_SIGNS = 200
_DOUBTFUL = re.compile(r"[){}][*+{]|\{|\\[1-9]|\(\?P=")
_CHILD = """
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
pattern = re.compile(sys.argv[1])
asked = pattern.fullmatch if sys.argv[2] == "whole" else pattern.match
for line in sys.stdin:
    found = asked(json.loads(line))
    print(json.dumps(None if found is None else [found[0], *found.groups()]), flush=True)
"""


def match(pattern: str, text: str, *, whole: bool = False) -> list[str | None] | None:
    """`re.match`, or `re.fullmatch`: what was found, then its groups; None where nothing is.

    Raises `UsageError` for an expression that takes too long on the text, or is too long itself.
    """
    if len(text) > _NAME_SIGNS or len(pattern) > MOST_SIGNS:
        raise UsageError(f"the name or the pattern {max(text, pattern, key=len)[:60]!r}... is too long to be matched")
    if _DOUBTFUL.search(pattern) is None and pattern.count("*") + pattern.count("+") <= 2:
        found = re.fullmatch(pattern, text) if whole else re.match(pattern, text)
        return None if found is None else [found[0], *found.groups()]
    if _child(pattern, whole).tired:
        _child.cache_clear()
    return _child(pattern, whole).match(text)


@functools.lru_cache(maxsize=8)
def _child(pattern: str, whole: bool) -> "_Child":
    return _Child(pattern, whole)


class _Child:
    """A process that matches one expression."""

    def __init__(self, pattern: str, whole: bool) -> None:
        self.pattern, self._answers = pattern, 0
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _CHILD, pattern, "whole" if whole else "start"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
        )  # fmt: skip
        self._end = weakref.finalize(self, _stop, self._process)

    @property
    def tired(self) -> bool:
        """Whether it has answered so often that its second may be over for that alone."""
        return self._answers >= 1000

    def match(self, text: str) -> list[str | None] | None:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(text) + "\n")
            self._process.stdin.flush()
            answer: Any = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):  # it has come to its end
            raise UsageError(
                f"the regular expression {self.pattern[:80]!r} takes more than a second on {text[:80]!r}; name the "
                "modules in a list, or write it without repeats of repeats"
            ) from None
        self._answers += 1
        return answer


def _stop(process: "subprocess.Popen[str]") -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()
