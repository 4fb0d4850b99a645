"""What torch's products are on this processor: told apart by numbers, said in words, and replaced on request."""

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.simulator import arithmetic as module
from edge_adapt.simulator.arithmetic import VARIABLE, Arithmetic, arithmetic, measure, product_arithmetic, rounded
from edge_adapt.simulator.autograd import TorchProducts


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    """As with users: nothing asked for, nothing measured yet."""
    monkeypatch.delenv(VARIABLE, raising=False)
    measure.cache_clear()
    yield
    measure.cache_clear()


def products(monkeypatch, multiply):
    """Put `multiply` in the place of torch's products, alone and in a stack."""
    monkeypatch.setattr(torch.Tensor, "__matmul__", multiply)
    monkeypatch.setattr(torch, "bmm", multiply)


def exact(a, b):
    return torch.einsum("...ik,...kj->...ij", a.double(), b.double()).float()


def half_sums(a, b):
    """Rounded factors, and sums that are rounded as well: what no accounting here assumes."""
    return rounded(exact(rounded(a), rounded(b)))


def only_when_large(a, b):
    """A library that takes the matrix unit for large products only."""
    return exact(rounded(a), rounded(b)) if a.shape[-1] > 100 else exact(a, b)


@pytest.mark.parametrize(
    ("multiply", "found"),
    [
        (exact, Arithmetic.FLOAT32),
        (lambda a, b: exact(rounded(a), rounded(b)), Arithmetic.BFLOAT16),
        (half_sums, Arithmetic.FLOAT32),
        (only_when_large, Arithmetic.FLOAT32),
        (lambda a, b: exact(rounded(a), b), Arithmetic.FLOAT32),
    ],
    ids=["exact", "rounded factors", "rounded sums", "rounded when large", "one factor rounded"],
)
def test_products_are_told_apart(monkeypatch, multiply, found):
    products(monkeypatch, lambda a, b: multiply(a, b) if a.dtype is torch.float32 else torch.matmul(a, b))
    assert measure() is found


def test_the_name_that_torch_gives_does_not_decide(monkeypatch):
    """Torch says "supported" of processors whose products do not round, and the report would say so with it."""
    before = measure()
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: not before.rounds, raising=False)
    measure.cache_clear()
    assert measure() is before and TorchProducts().how is before


def test_this_processor_does_as_measured_at_other_sizes():
    rng = torch.Generator().manual_seed(9)
    a, b = torch.randn(96, 512, generator=rng), torch.randn(512, 192, generator=rng)
    with module.in_bfloat16():
        found = a @ b
    if measure() is Arithmetic.BFLOAT16:
        a, b = rounded(a), rounded(b)
    bound = 512 * 2.0**-24 * (a.abs().double() @ b.abs().double())
    assert ((found - a.double() @ b.double()).abs() <= bound).all()


def test_measuring_leaves_the_settings_of_torch_as_they_were():
    before = torch.backends.mkldnn.matmul.fp32_precision
    state = torch.random.get_rng_state()
    measure()
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    assert np.array_equal(torch.random.get_rng_state(), state)


def test_the_variable_takes_the_place_of_the_measurement(monkeypatch):
    assert product_arithmetic() == measure().value
    monkeypatch.setenv(VARIABLE, "float32")
    assert product_arithmetic() == "float32" and TorchProducts().variance_type is np.float32
    monkeypatch.setenv(VARIABLE, "bfloat16")
    monkeypatch.setattr(module, "measure", lambda: Arithmetic.FLOAT32)
    assert product_arithmetic() == "bfloat16 (emulated)" and TorchProducts().variance_type is np.uint16
    monkeypatch.setattr(module, "measure", lambda: Arithmetic.BFLOAT16)
    assert product_arithmetic() == "bfloat16 (matrix unit)"
    monkeypatch.setenv(VARIABLE, "fp16")
    with pytest.raises(UsageError, match="EDGE_ADAPT_PRODUCTS=fp16 is not known; allowed: float32, bfloat16"):
        arithmetic()
