"""What torch's products are on this processor: told apart by numbers, said in words, and replaced on request."""

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.simulator.arithmetic import VARIABLE, Arithmetic, arithmetic, measure, product_arithmetic
from edge_adapt.simulator.autograd import TorchProducts


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    """As with users: nothing asked for, nothing measured yet."""
    monkeypatch.delenv(VARIABLE, raising=False)
    measure.cache_clear()
    yield
    measure.cache_clear()


def exact(a, b, out=None):
    return (a.int().double() @ b.int().double()).int()


def in_pairs(a, b, out=None):
    """Inputs are made positive, and two products are added in 16 bits, which they do not always fit into: what a
    library does where the processor has no better instruction.
    """
    if a.shape[1] % 2:
        return exact(a, b)
    products = (a.int() + 128)[:, :, None] * b.int()[None]
    pairs = (products[:, ::2] + products[:, 1::2]).clamp(-(2**15), 2**15 - 1)
    return pairs.sum(1, dtype=torch.int32) - 128 * b.int().sum(0, dtype=torch.int32)


def rounded(a, b, out=None):
    """Sums of float16."""
    return exact(a, b).half().int()


def none_at_all(a, b, out=None):
    raise RuntimeError("_int_mm is not implemented for this processor")


@pytest.mark.parametrize(
    ("multiply", "found"),
    [
        (exact, Arithmetic.WHOLE),
        (in_pairs, Arithmetic.FLOAT32),
        (rounded, Arithmetic.FLOAT32),
        (none_at_all, Arithmetic.FLOAT32),
    ],
)
def test_products_are_told_apart(monkeypatch, multiply, found):
    monkeypatch.setattr(torch, "_int_mm", multiply)
    assert measure() is found and TorchProducts().whole is (found is Arithmetic.WHOLE)


def test_a_torch_without_such_products_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch, "_int_mm")
    assert measure() is Arithmetic.FLOAT32


def test_this_processor_does_as_measured_at_other_sizes():
    if measure() is not Arithmetic.WHOLE:
        pytest.skip("this processor's products of whole numbers are not exact")
    rng = np.random.default_rng(3)
    for vectors, inputs, columns in ((1, 1, 1), (7, 130, 9), (520, 128, 768), (64, 2048, 33)):
        a, b = (rng.integers(-127, 128, shape, np.int8) for shape in ((vectors, inputs), (inputs, columns)))
        out = np.empty((1, vectors, columns), np.int32)
        TorchProducts().whole_sums(a, b[None], inputs, out)
        assert np.array_equal(out[0], a.astype(int) @ b.astype(int))


def test_measuring_leaves_the_random_numbers_of_torch_as_they_were():
    state = torch.random.get_rng_state()
    measure()
    assert np.array_equal(torch.random.get_rng_state(), state)


def test_the_variable_takes_the_place_of_the_measurement(monkeypatch):
    assert product_arithmetic() == measure().value
    monkeypatch.setenv(VARIABLE, "float32")
    assert product_arithmetic() == "float32" and not TorchProducts().whole
    monkeypatch.setenv(VARIABLE, "fp16")
    with pytest.raises(UsageError, match="EDGE_ADAPT_PRODUCTS=fp16 is not known; allowed: float32, or unset it"):
        arithmetic()
