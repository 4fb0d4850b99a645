"""Small files with one job: no file over 450 lines, no function over 60 but kernels, methods of 200 lines at most."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FILE_LINES, METHOD_LINES, FUNCTION_LINES = 450, 200, 60
FOLDERS = ("commands", "devices", "exporters", "methods", "reports", "runtime", "simulator", "studies", "workloads")
#: compiled loops, which a call would slow down or which numba cannot take apart
KERNELS = {"simulator/pulse_kernel.py _program_block"}


def sources(root: Path, *folders: str) -> Iterator[Path]:
    yield from root.glob("*.py")
    for folder in (*FOLDERS, *folders):
        yield from (root / folder).rglob("*.py")


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From `def` to the end, without the docstring."""
    first = node.body[0]
    said = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    doc = (first.end_lineno or 0) - first.lineno + 1 if said else 0
    return (node.end_lineno or 0) - node.lineno + 1 - doc


def test_files_are_short(root: Path) -> None:
    long = {}
    for path in sources(root, "benchmarks", "examples", "tests"):
        name = path.relative_to(root).as_posix()
        most = METHOD_LINES if path.parent.name == "library" else FILE_LINES
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > most:
            long[name] = f"{lines} lines, at most {most}"
    assert not long


def test_functions_are_short(root: Path) -> None:
    long = {}
    for path in sources(root, "benchmarks", "examples"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines_of(node) > FUNCTION_LINES:
                long[f"{path.relative_to(root).as_posix()} {node.name}"] = lines_of(node)
    assert long.keys() <= KERNELS, long
    assert long.keys() >= KERNELS, "a kernel that is short or gone needs no exception"


@pytest.mark.parametrize("lines", [60, 61])
def test_the_count_leaves_the_docstring_out(lines: int) -> None:
    body = "\n".join("    x = 1" for _ in range(lines - 1))
    (node,) = ast.parse(f'def f():\n    """Two\n    lines."""\n{body}\n').body
    assert isinstance(node, ast.FunctionDef) and lines_of(node) == lines
