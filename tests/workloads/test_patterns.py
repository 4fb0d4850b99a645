"""Patterns of a stranger are matched by Python's rules, and give up after a second of work."""

import re

import pytest
from edge_adapt.errors import UsageError
from edge_adapt.workloads.patterns import match

PATHS = ("model.layers.0.q_proj", "model.layers.11.v_proj", "q", "xyxxy", "")


@pytest.mark.parametrize(
    "pattern",
    [r".*\.(q|v)_proj", r"(?!.*vision).*q", r"(?i).*Q_PROJ", r"(x{1,3}y)+", r"(.*\.)?(layers\.\d+\.q_proj)$", r"(q)?\1",
     r".*.*.*.*q.*", r"a|q"],
)  # fmt: skip
def test_as_python_does(pattern: str) -> None:
    for path in PATHS:
        for whole, ours in ((True, re.fullmatch), (False, re.match)):
            found = ours(pattern, path)
            assert match(pattern, path, whole=whole) == (None if found is None else [found[0], *found.groups()])


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "((((a?){200}){200}){200})b"])
def test_patterns_without_end(pattern: str) -> None:
    with pytest.raises(UsageError, match="takes more than a second"):
        match(pattern, "a" * 60 + "c", whole=True)
    with pytest.raises(UsageError, match="too long"):
        match("a" * 5000, "a")
