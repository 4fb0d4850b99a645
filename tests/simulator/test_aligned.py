"""Operands of products begin at a multiple of 64 bytes, wherever numpy puts arrays."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import program
from edge_adapt.simulator.aligned import aligned, empty


@pytest.mark.parametrize("shape", [(0,), (3,), (5, 7), (0, 4, 4), (2, 3, 129)])
@pytest.mark.parametrize("kind", [np.float32, np.uint16, np.float64])
def test_empty(shape: tuple[int, ...], kind: type) -> None:
    array = empty(shape, kind)
    assert array.shape == shape and array.dtype == kind and array.flags.writeable
    assert not array.size or array.ctypes.data % 64 == 0


def test_aligned_keeps_numbers_and_what_is_aligned() -> None:
    given = np.arange(24, dtype=np.float32).reshape(4, 6)
    for view in (given, given[1:], given.T, given[:, ::2]):
        found = aligned(view)
        assert np.array_equal(found, view) and found.ctypes.data % 64 == 0 and found.flags.c_contiguous
        assert aligned(found) is found


def test_what_reads_multiply(monkeypatch: pytest.MonkeyPatch) -> None:
    model = program(load_chip("pcm"), {"w": np.ones((40, 150))}, np.random.default_rng(0))
    matrix = model.matrix("w")
    model.matvec("w", np.ones((70, 150)))
    operands = [matrix.pairs, matrix.noise_bits, matrix.noise, *model._reader._memory.values()]
    assert all(operand.ctypes.data % 64 == 0 for operand in operands)
