"""Torch through the crossbar: straight-through gradients, padding that is never driven, matrices that bypass the
chip.
"""

import dataclasses

import numpy as np
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.simulator import program
from edge_adapt.simulator.autograd import ChipReader, ExactReader, TorchProducts
from edge_adapt.simulator.products import Products, chunks


@pytest.fixture
def model(reram, rng):
    return program(reram, {"w": rng.standard_normal((6, 40)).astype(np.float32)}, rng)


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


def test_what_is_held_digitally_is_read_exactly(model):
    reader = ChipReader(model)
    x, weight = torch.randn(3, 40), torch.randn(6, 40)
    reader.bypass = frozenset({"w", "new"})
    for name in ("w", "new"):
        assert torch.equal(reader(name, x, weight), torch.nn.functional.linear(x, weight))
    assert model.counts.reads == 0


@pytest.mark.parametrize("held", [(), ("late",)])
def test_a_matrix_that_nobody_declared_is_never_read(model, held):
    reader = ChipReader(model)
    reader.bypass = frozenset(held)
    for name in ("other", "W", "w.lora_a", ""):
        with pytest.raises(EdgeAdaptError, match=f"the matrix {name!r} is read, and is neither in cells nor held"):
            reader(name, torch.randn(3, 40), torch.randn(6, 40))
    assert model.counts.reads == 0
    with pytest.raises(EdgeAdaptError, match="did you mean 'late'" if held else "declares it in its plan"):
        reader("latte", torch.randn(3, 40), torch.randn(6, 40))


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
    sums, variances = np.empty(shape, np.float32), np.empty(shape, np.float32)
    products.sums(codes, matrix, matrix.pairs, sums)
    products.variances(codes**2, matrix, variances)
    return sums, variances


@pytest.mark.parametrize(("slices", "inputs"), [(1, 300), (1, 256), (2, 300), (1, 40)])
def test_torch_products_are_numpys(reram, rng, slices, inputs):
    matrix = matrix_of(reram, rng, inputs=inputs, slices=slices)
    codes = rng.uniform(-1, 1, (9, inputs)).astype(np.float32)
    plain, torchs = (products_of(products, matrix, codes) for products in (Products(), TorchProducts()))
    assert np.allclose(plain[0], torchs[0], atol=1e-5)
    assert np.allclose(plain[1], torchs[1], rtol=1e-5)
    tile = [codes[:, rows] @ matrix.pairs[s, rows] for s, rows in chunks(matrix)]
    assert np.allclose(torchs[0], tile, atol=1e-5)
    y = rng.standard_normal((9, 70)).astype(np.float32)
    held = matrix.pairs[0].T
    assert np.allclose(TorchProducts().multiply(y, held), y @ held, atol=1e-4)


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


def test_what_drives_several_matrices_is_gathered_once_and_never_when_it_has_changed(reram, rng):
    model = program(reram, {n: rng.standard_normal((6, 40)).astype(np.float32) for n in "qkv"}, rng)
    reader, seen = ChipReader(model), []
    reader.mask = torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    model.matvec = lambda name, x: seen.append(x.copy()) or np.zeros((len(x), 6), np.float32)
    x = torch.randn(2, 3, 40)
    for name in "qk":
        reader(name, x, torch.randn(6, 40))
    assert np.array_equal(seen[0], x[reader.mask].numpy()) and np.array_equal(seen[0], seen[1])
    assert reader.driven(x.reshape(-1, 40), reader._real) is reader.driven(x.reshape(-1, 40), reader._real)
    x[0, 0] = 7.0
    reader("v", x, torch.randn(6, 40))
    reader.mask = torch.tensor([[0, 1, 0], [1, 0, 0]]).bool()
    reader("v", x, torch.randn(6, 40))
    assert np.array_equal(seen[2], x[torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()].numpy())
    assert np.array_equal(seen[3], x[reader.mask].numpy())


def test_tensors_of_inference_mode_are_read_too(model):
    reader = ChipReader(model)
    reader.mask = torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    with torch.inference_mode():
        y = reader("w", torch.randn(2, 3, 40), torch.randn(6, 40))
    assert (y[~reader.mask] == 0).all() and (y[reader.mask] != 0).any()
