"""Torch through the crossbar: straight-through gradients, padding that is never driven, matrices that bypass the
chip.
"""

import dataclasses

import numpy as np
import pytest
import torch
from edge_adapt.simulator import program
from edge_adapt.simulator.arithmetic import Arithmetic, measure
from edge_adapt.simulator.autograd import ROUGH_FROM, ChipReader, ExactReader, TorchProducts
from edge_adapt.simulator.bfloat16 import from_bfloat16
from edge_adapt.simulator.products import Products, chunks

# All that any processor does: what this one does not is emulated.
EVERY = pytest.mark.parametrize("how", sorted({Arithmetic.FLOAT32, Arithmetic.EMULATED, measure()}, key=str), ids=str)


@pytest.fixture
def quiet(reram):
    """A chip whose cells have less read noise than lets products be rounded."""
    return dataclasses.replace(reram, cell=dataclasses.replace(reram.cell, read_noise_relative=0.009))


@pytest.fixture
def model(quiet, rng):
    return program(quiet, {"w": rng.standard_normal((6, 40)).astype(np.float32)}, rng)


def test_gradients_are_those_of_what_the_cells_hold(model):
    x = torch.randn(5, 40, requires_grad=True)
    weight = torch.randn(6, 40, requires_grad=True)
    y = ChipReader(model)("w", x, weight)
    g = torch.randn(5, 6)
    y.backward(g)
    held = torch.from_numpy(model.effective_weight("w"))
    assert torch.allclose(x.grad, g @ held, atol=1e-6)
    assert torch.allclose(weight.grad, g.T @ x.detach(), atol=1e-5)
    assert model.counts.reads == 5 and model.counts.transposed_reads == 5


def test_no_backward_pass_means_no_transposed_reads(model):
    y = ChipReader(model)("w", torch.randn(5, 40), torch.randn(6, 40))
    assert not y.requires_grad and model.counts.transposed_reads == 0


def test_padding_is_not_driven_and_comes_back_as_zero(model):
    reader = ChipReader(model)
    reader.mask = torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    x = torch.randn(2, 3, 40, requires_grad=True)
    y = reader("w", x, torch.randn(6, 40))
    assert y.shape == (2, 3, 6) and model.counts.reads == 3
    assert (y[~reader.mask] == 0).all() and (y[reader.mask] != 0).any()
    y.sum().backward()
    assert model.counts.transposed_reads == 3 and (x.grad[~reader.mask] == 0).all()


def test_watch_takes_the_mask_of_each_call(model):
    reader = ChipReader(model)

    class Encoder(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            return reader.mask

    encoder = Encoder()
    stop = reader.watch(encoder)
    mask = torch.tensor([[1, 0]])
    assert torch.equal(encoder(input_ids=None, attention_mask=mask), mask.bool())
    stop()
    reader.mask = None
    assert encoder(input_ids=None, attention_mask=mask) is None


def test_unprogrammed_and_bypassed_matrices_are_read_exactly(model):
    reader = ChipReader(model)
    x, weight = torch.randn(3, 40), torch.randn(6, 40)
    assert torch.equal(reader("other", x, weight), x @ weight.T)
    reader.bypass = frozenset({"w"})
    assert torch.equal(reader("w", x, weight), torch.nn.functional.linear(x, weight))
    assert model.counts.reads == 0


def test_adapting_digital_state_writes_no_cell(model):
    reader = ChipReader(model)
    scale = torch.nn.Parameter(torch.ones(6))
    optimiser = torch.optim.AdamW([scale], lr=0.1)
    for _ in range(5):
        loss = (scale * reader("w", torch.randn(8, 40), torch.zeros(6, 40))).square().mean()
        loss.backward()
        optimiser.step()
    assert model.cell_writes("w") == 0 and model.counts.cell_write_joules == 0


def matrix_of(chip, rng, outputs=70, inputs=300, slices=1):
    chip = dataclasses.replace(chip, array=dataclasses.replace(chip.array, slices=slices))
    return program(chip, {"w": rng.standard_normal((outputs, inputs)).astype(np.float32)}, rng).matrix("w")


def products_of(products, matrix, codes):
    shape = (matrix.layout.slices * matrix.layout.row_tiles, len(codes), matrix.layout.sensed)
    sums, variances = np.empty(shape, np.float32), np.empty(shape, products.variance_type)
    products.sums(codes, matrix, matrix.pairs, sums)
    products.variances(codes**2, matrix, variances)
    return sums, variances if variances.dtype == np.float32 else from_bfloat16(variances)


@EVERY
@pytest.mark.parametrize(("slices", "inputs"), [(1, 300), (1, 256), (2, 300), (1, 40)])
def test_torch_products_are_numpys(quiet, rng, slices, inputs, how):
    matrix = matrix_of(quiet, rng, inputs=inputs, slices=slices)
    codes = rng.uniform(-1, 1, (9, inputs)).astype(np.float32)
    plain, torchs = (products_of(products, matrix, codes) for products in (Products(), TorchProducts(how)))
    assert np.allclose(plain[0], torchs[0], atol=1e-5)
    assert np.abs(torchs[1] / plain[1] - 1).max() < 0.01
    tile = [codes[:, rows] @ matrix.pairs[s, rows] for s, rows in chunks(matrix)]
    assert np.allclose(torchs[0], tile, atol=1e-5)
    y = rng.standard_normal((9, 70)).astype(np.float32)
    held = matrix.pairs[0].T
    assert np.allclose(TorchProducts(how).multiply_backward(matrix, y, held), y @ held, atol=1e-4)


@EVERY
def test_rounding_moves_a_sum_less_than_the_read_noise(reram, rng, how):
    assert reram.cell.read_noise_relative >= ROUGH_FROM
    matrix = matrix_of(reram, rng, outputs=256, inputs=512)
    codes = (np.rint(rng.uniform(-127, 127, (256, 512))) / 127).astype(np.float32)
    sums, variances = products_of(TorchProducts(how), matrix, codes)
    off = sums - [codes[:, rows] @ matrix.pairs[s, rows] for s, rows in chunks(matrix)]
    # Bound of each product's error: both factors by half a unit of 8 bits.
    most = [np.abs(codes[:, rows]) @ np.abs(matrix.pairs[s, rows]) for s, rows in chunks(matrix)]
    assert (np.abs(off) <= np.array(most) * (2 * 2.0**-8 + 2.0**-16) + 1e-5).all()
    assert np.sqrt((off**2 / variances).mean()) < 0.25  # 0.24 % against a noise of 1 % of both cells of a pair
    assert how.rounds is bool((np.abs(off) > 1e-3).any())
    y, held = rng.standard_normal((9, 256)).astype(np.float32), matrix.pairs[0].T
    backward = TorchProducts(how).multiply_backward(matrix, y, held) - y @ held
    assert (np.abs(backward) <= np.abs(y) @ np.abs(held) * (2 * 2.0**-8 + 2.0**-16) + 1e-5).all()
    assert how.rounds is bool((np.abs(backward) > 1e-3).any())


def near(values):
    """Nearest numbers of 8 bits, ties to even, by arithmetic."""
    mantissa, exponent = np.frexp(values.astype(float))
    return np.ldexp(np.rint(mantissa * 256) / 256, exponent)


def test_what_is_emulated_is_what_a_matrix_unit_does(reram, rng):
    """By hand: both factors to the nearest bfloat16, float32 sums; the variance to the nearest bfloat16 once more."""
    matrix = matrix_of(reram, rng, outputs=256, inputs=300)
    codes = rng.uniform(-1, 1, (9, 300)).astype(np.float32)
    found = products_of(TorchProducts(Arithmetic.EMULATED), matrix, codes)
    for c, (s, rows) in enumerate(chunks(matrix)):
        sums, bound = (f(near(codes[:, rows])) @ f(near(matrix.pairs[s, rows])) for f in (np.array, np.abs))
        assert (np.abs(found[0][c] - sums) <= bound * (rows.stop - rows.start) * 2.0**-24).all()
        variances = near(codes[:, rows] ** 2) @ from_bfloat16(matrix.noise_bits)[s, rows].astype(float)
        assert np.abs(found[1][c] / variances - 1).max() < 2.0**-8


def test_exact_reader_leaves_padding_out():
    reader = ExactReader()
    reader.mask = torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    x, weight = torch.randn(2, 3, 40, requires_grad=True), torch.randn(6, 40, requires_grad=True)
    y = reader("w", x, weight)
    exact = (x @ weight.T) * reader.mask.unsqueeze(-1)
    assert torch.allclose(y, exact, atol=1e-6)
    g = torch.randn(2, 3, 6)
    for mine, theirs in zip(
        torch.autograd.grad(y, (x, weight), g), torch.autograd.grad(exact, (x, weight), g), strict=True
    ):
        assert torch.allclose(mine, theirs, atol=1e-5)
