"""Gradients read through transposed arrays, against plain numpy, the exact product, and two published errors."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import backward, program, reference
from edge_adapt.simulator.converters import code_max
from edge_adapt.simulator.mapping import slice_gain

ANALOG = {"array.backward": "analog"}
QUIET = {"cell.read.noise": "0"}
FINE = {"periphery.adc.bits": "16", "periphery.adc.energy": "1 pJ", "periphery.adc.area": "1 um^2",
        "array.input_bits": "14"}  # fmt: skip


def made(shape=(150, 200), seed=0, **settings):
    """A chip with a matrix, and gradients for it."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal(shape).astype(np.float32)
    model = program(load_chip("reram", ANALOG | settings), {"w": weight}, np.random.default_rng(1))
    return model, rng.standard_normal((40, shape[0])).astype(np.float32)


def errors(model, y):
    """The relative error of each token, (vectors,)."""
    exact = y @ model.effective_weight("w")
    return np.linalg.norm(model.transposed_product("w", y) - exact, axis=1) / np.linalg.norm(exact, axis=1)


@pytest.mark.parametrize("together", [0.0, 0.7])
def test_the_drive_is_that_of_plain_numpy(together):
    rng = np.random.default_rng(0)
    y, scale = (rng.standard_normal(size).astype(np.float32) for size in ((7, 33), 33))
    y[3] = 0.0
    found, expected = (
        (np.empty_like(y), np.empty_like(y), np.empty(len(y), np.float32)) for _ in range(2)
    )  # fmt: skip
    backward.drive_back(y, scale, 127, together, *found)
    reference.drive_back(y, scale, 127, together, *expected)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("bound", ["token", "batch"])
def test_a_read_is_that_of_plain_numpy(bound):
    """Without noise, array by array: every result within a step of a converter, and nearly all the same."""
    settings = QUIET | {"array.slices": "2", "array.backward_range": bound}
    model, y = made(**settings)
    found, matrix = model.transposed_product("w", y), model.matrix("w")
    layout, (piece,) = matrix.layout, backward.pieces(matrix)
    assert layout.column_tiles > 1 and layout.slices == 2
    each = layout.outputs_per_array
    widths = [min(each, layout.outputs - first) for first in range(0, layout.outputs, each)]
    adc = model._backward._adc["w 0"]
    together = 0.0 if bound == "token" else backward.best_range(y * piece.scale, 8)
    expected = reference.transposed_read(
        y, matrix.pairs, np.zeros_like(matrix.pairs), piece.scale, slice_gain(layout), widths, 8, 8, adc,
        np.zeros((2 * len(widths), len(y), layout.inputs)), together,
    )  # fmt: skip
    step = (slice_gain(layout) * adc).max() / code_max(8) * np.abs(y * piece.scale).max()
    assert np.abs(found - expected).max() < 1.01 * step
    assert np.mean(np.abs(found - expected) > 1e-3 * step) < 1e-3


def test_read_noise_has_the_variance_of_the_cells():
    model, y = made(**FINE)
    matrix = model.matrix("w")
    (piece,) = backward.pieces(matrix)
    codes, squares, full = np.empty_like(y), np.empty_like(y), np.empty(len(y), np.float32)
    reference.drive_back(y, piece.scale, code_max(14), 0.0, codes, squares, full)
    sigma = np.sqrt(squares @ matrix.noise[0].T) * full[:, None]
    reads = np.stack([model.transposed_product("w", y) for _ in range(60)])
    assert np.mean(reads.std(0, ddof=1) ** 2 / sigma**2) == pytest.approx(1.0, abs=0.03)
    off = np.abs(reads.mean(0) - y @ model.effective_weight("w")) / sigma * np.sqrt(60)
    assert np.quantile(off, 0.999) < 4.5  # ranges of converters cut the largest sums


def test_published_error_of_gaussian_gradients():
    """Emulated elsewhere at 8 bits with 1 % noise: 1.7 %."""
    model, _ = made((384, 384))
    y = np.random.default_rng(5).standard_normal((256, 384)).astype(np.float32)
    assert np.median(errors(model, y)) == pytest.approx(0.017, abs=0.002)


def test_published_error_where_tokens_differ_in_scale():
    """Emulated elsewhere with scales spread lognormally, sigma 1.5, under one range: the median token errs by 42 %. A
    range for each token does as well as if they were equal.
    """
    rng = np.random.default_rng(5)
    scales = np.exp(1.5 * rng.standard_normal((256, 1))).astype(np.float32)
    y = rng.standard_normal((256, 384)).astype(np.float32) * scales
    together, _ = made((384, 384), **{"array.backward_range": "batch"})
    apart, _ = made((384, 384))
    assert np.median(errors(together, y)) == pytest.approx(0.42, abs=0.12)
    assert np.median(errors(apart, y)) == pytest.approx(0.017, abs=0.002)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"array.slices": "2"},
        {"array.scale": "tile"},
        {"array.mapping": "offset", "array.slices": "2"},
        {"array.rotation": "hadamard"},
        {"array.rows": "64", "array.spare_columns": "8"},
    ],
)
def test_fine_converters_give_the_exact_product(settings):
    model, y = made(**QUIET, **FINE, **settings)
    assert np.quantile(errors(model, y), 0.8) < 3e-4  # ranges of converters cut the largest sums of a few tokens


def test_exact_unless_the_chip_says_otherwise():
    analog, y = made()
    exact, _ = made(**{"array.backward": "exact"})
    plain = program(load_chip("reram"), {"w": np.ones((4, 9), np.float32)}, np.random.default_rng(1))
    assert plain.chip.array.backward == "exact"
    wanted = exact.transposed_product("w", y)
    assert np.array_equal(wanted, exact.transposed_product("w", y))
    assert not np.array_equal(wanted, analog.transposed_product("w", y))
    analog.exact_backward = True
    assert np.array_equal(wanted, analog.transposed_product("w", y))


def test_forward_reads_have_the_same_noise_whatever_goes_back():
    (one, y), (other, _) = made(), made()
    x = np.random.default_rng(3).standard_normal((6, 200)).astype(np.float32)
    one.transposed_product("w", y)
    assert np.array_equal(one.matvec("w", x), other.matvec("w", x))


def test_nothing_in_gives_nothing_out():
    model, y = made()
    assert model.transposed_product("w", y[:0]).shape == (0, 200)
    found = model.transposed_product("w", np.concatenate([y, 0 * y[:1]]))
    assert np.isfinite(found).all() and not found[-1].any()


def test_torch_reads_gradients_through_the_chip():
    torch = pytest.importorskip("torch")
    from edge_adapt.simulator.autograd import ChipReader

    model, _ = made()
    reader = ChipReader(model)
    x = torch.randn(4, 3, 200, requires_grad=True)
    reader.mask = torch.tensor([[1, 1, 0]] * 4).bool()
    g = torch.randn(4, 3, 150)
    reader("w", x, torch.zeros(150, 200)).backward(g)
    wanted = torch.where(reader.mask[..., None], g @ torch.from_numpy(model.effective_weight("w")), 0.0)
    error = (x.grad - wanted).norm() / wanted.norm()
    assert 1e-3 < error < 0.04
    assert (x.grad[:, 2] == 0).all() and model.counts.transposed_reads == 8
