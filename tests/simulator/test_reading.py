"""Reading through the crossbar: against the float product, the reference kernels, and the noise law."""

import dataclasses

import numba
import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.simulator import program, read_kernels, reference
from edge_adapt.simulator.bfloat16 import from_bfloat16, to_bfloat16
from edge_adapt.simulator.converters import best_range, code_max, drive_load


def matrix(rng, out=96, inputs=200):
    return rng.standard_normal((out, inputs)).astype(np.float32) * 0.05


def test_ideal_fidelity_is_the_float_product_and_still_counts(reram, rng):
    weight, x = matrix(rng), rng.standard_normal((7, 200)).astype(np.float32)
    model = program(reram, {"w": weight}, rng, fidelity="ideal")
    assert np.allclose(model.matvec("w", x), x @ weight.T, atol=1e-5)
    assert np.array_equal(model.effective_weight("w"), weight)
    assert model.counts.reads == 7 and model.counts.adc_conversions > 0


def test_without_effects_only_quantisation_is_left(quiet, rng):
    fine = dataclasses.replace(
        quiet,
        cell=dataclasses.replace(quiet.cell, levels=256, program_tolerance_siemens=1e-9, pulse_step_siemens=2e-9,
                                 pulse_step_growth=0.0, pulses_max=60000),
        array=dataclasses.replace(quiet.array, input_bits=14),
        periphery=dataclasses.replace(quiet.periphery, adc_bits=16),
    )  # fmt: skip
    weight, x = matrix(rng), rng.standard_normal((50, 200)).astype(np.float32)
    model = program(fine, {"w": weight}, rng)
    y, exact = model.matvec("w", x), x @ weight.T
    assert np.linalg.norm(y - exact) / np.linalg.norm(exact) < 0.01
    assert np.abs(model.effective_weight("w") - weight).max() < 1.01 * np.abs(weight).max() / 255


def test_a_vector_and_a_batch_of_one_are_the_same_read(quiet, rng):
    model = program(quiet, {"w": matrix(rng)}, rng)
    x = rng.standard_normal(200).astype(np.float32)
    single, batch = model.matvec("w", x), model.matvec("w", x[None])
    assert single.shape == (96,) and batch.shape == (1, 96)
    assert np.array_equal(single, batch[0])


def test_read_noise_has_the_variance_of_the_cells_summed(reram, rng, change_cell):
    """Var(y) = sum_i x_i^2 sigma_r^2 (G+_i^2 + G-_i^2), per row tile, as if every cell were drawn on its own."""
    chip = change_cell(reram, read_noise_relative=0.05)
    chip = dataclasses.replace(chip, periphery=dataclasses.replace(chip.periphery, adc_bits=16))
    weight = matrix(rng, out=5)
    model = program(chip, {"w": weight}, rng)
    x = rng.standard_normal((1, 200)).astype(np.float32)
    with model.calibrating():  # inputs twice as large, so that nothing of x saturates
        model.matvec("w", np.concatenate([2.1 * x, -2.1 * x]))
    reads = model.matvec("w", np.repeat(x, 20000, axis=0)).astype(float)
    full_scale = model._ranges["w"][0]
    codes = np.clip(np.rint(x[0] / full_scale * 127), -127, 127) / 127
    g = model.matrix("w").conductance_siemens()[0].astype(float)
    window = chip.cell.g_max_siemens - chip.cell.g_min_siemens
    variance = (codes[:, None] ** 2 * 0.05**2 * (g[0] ** 2 + g[1] ** 2)).sum(0) / window**2
    expected = full_scale**2 * model.matrix("w").scale[0].astype(float) ** 2 * variance
    assert np.allclose(reads.var(0), expected, rtol=0.06)
    mean = codes @ ((g[0] - g[1]) / window) * full_scale * model.matrix("w").scale[0]
    assert np.allclose(reads.mean(0), mean, atol=6 * np.sqrt(expected.max() / 20000) + 1e-4)


def test_each_read_draws_new_noise_and_the_same_seed_the_same(reram, rng):
    weight, x = matrix(rng), rng.standard_normal((3, 200)).astype(np.float32)
    a, b = (program(reram, {"w": weight}, np.random.default_rng(5)) for _ in range(2))
    first = a.matvec("w", x)
    assert np.array_equal(first, b.matvec("w", x))
    assert not np.array_equal(first, a.matvec("w", x))


def test_reads_do_not_depend_on_the_number_of_threads(reram, rng):
    weight, x = matrix(rng), rng.standard_normal((40, 200)).astype(np.float32)
    results = []
    for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        numba.set_num_threads(threads)
        model = program(reram, {"w": weight}, np.random.default_rng(5))
        results.append((model.matvec("w", x), model.counts.cell_read_joules))
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert np.array_equal(results[0][0], results[1][0]) and results[0][1] == results[1][1]


NOTHING, FLAT = np.empty((0, 0, 0), np.float32), np.empty((0, 0), np.float32)


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("references", [0, 3])
@pytest.mark.parametrize("errors", ["none", "linear", "curved"])
def test_convert_kernel_equals_the_reference(rng, noisy, references, errors):
    chunks, digits, vectors, outputs, top = 3, 2, 5, 701, 31
    shape = (chunks, digits * vectors, outputs + references)
    partial = rng.standard_normal(shape).astype(np.float32)
    variance = np.abs(rng.standard_normal(shape)).astype(np.float32) if noisy else NOTHING
    gains = rng.uniform(0.5, 2, (chunks, outputs)).astype(np.float32)
    lsb, worth = np.array([0.05, 0.0, 0.11], np.float32), np.array([1.0, 2.0], np.float32)
    reference_of = outputs + np.arange(outputs, dtype=np.int32) % references if references else np.empty(0, np.int32)
    adc, curves, curve_of = NOTHING, FLAT, np.empty((0, 0), np.int32)
    if errors != "none":
        gain = rng.normal(1, 0.02, (chunks, shape[2]))
        adc = np.stack([gain, rng.normal(0, 0.7, gain.shape)]).astype(np.float32)
    if errors == "curved":
        curves = rng.normal(0, 0.5, (4, 2 * top + 1)).astype(np.float32)
        curve_of = rng.integers(0, 4, adc.shape[1:]).astype(np.int32)
    results = []
    for implementation in (read_kernels.convert_rows, reference.convert_rows):
        out = np.empty((vectors, outputs), np.float32)
        implementation(partial, variance, gains, lsb, np.float32(top), np.uint64(9), 3, worth,
                       reference_of.astype(np.int32), (adc, curves, curve_of), out)  # fmt: skip
        results.append(out)
    # A value on a rounding boundary may fall to either side in float32: at most a few steps, and rarely.
    off = np.abs(results[0] - results[1])
    assert (off > 1e-4).mean() < 5e-3 and off.max() < 2 * 2 * 2 * 0.11 * 1.01


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("references", [0, 3])
@pytest.mark.parametrize("errors", [False, True])
def test_convert_kernel_of_whole_numbers_equals_the_reference(rng, noisy, references, errors):
    chunks, vectors, outputs, top = 3, 5, 701, 31
    sensed = outputs + references
    sums = rng.integers(-200, 200, (chunks, vectors, 2 * sensed)).astype(np.int32)
    squares = rng.integers(0, 500, (chunks, 2, vectors, sensed) if noisy else (0, 0, 0, 0)).astype(np.int32)
    steps, noise_steps = rng.uniform(1e-5, 1e-4, chunks), rng.uniform(1e-6, 1e-5, (chunks, sensed))
    lsb = np.array([0.05, 0.0, 0.11], np.float32)
    gains = rng.uniform(0.5, 2, (chunks, outputs)).astype(np.float32)
    reference_of = outputs + np.arange(outputs, dtype=np.int32) % references if references else np.empty(0, np.int32)
    adc = np.stack([rng.normal(1, 0.02, (chunks, sensed)), rng.normal(0, 0.7, (chunks, sensed))]) if errors else NOTHING
    results = []
    for implementation in (read_kernels.convert_whole, reference.convert_whole):
        out = np.empty((vectors, outputs), np.float32)
        implementation(
            sums, squares, steps.astype(np.float32), noise_steps.astype(np.float32), gains, lsb, np.float32(top),
            np.uint64(9), 3, reference_of.astype(np.int32),
            (adc.astype(np.float32), FLAT, np.empty((0, 0), np.int32)), out,
        )  # fmt: skip
        results.append(out)
    off = np.abs(results[0] - results[1])
    assert (off > 1e-4).mean() < 5e-3 and off.max() < 2 * 2 * 0.11 * 1.01


def test_noise_of_a_vector_does_not_depend_on_how_many_are_read_at_a_time(rng):
    partial, variance = rng.standard_normal((2, 2, 6, 33)).astype(np.float32) ** 2
    arguments = (np.ones((2, 33), np.float32), np.full(2, 0.1, np.float32), np.float32(127), np.uint64(4))
    rest = (np.ones(1, np.float32), np.empty(0, np.int32), (NOTHING, FLAT, np.empty((0, 0), np.int32)))
    whole, parts = np.empty((6, 33), np.float32), np.empty((6, 33), np.float32)
    read_kernels.convert_rows(partial, variance, *arguments, 0, *rest, whole)
    for first, last in ((0, 2), (2, 6)):
        some = [np.ascontiguousarray(a[:, first:last]) for a in (partial, variance)]
        read_kernels.convert_rows(*some, *arguments, first, *rest, parts[first:last])
    assert np.array_equal(whole, parts)


@pytest.mark.parametrize("uneven", [True, False])
def test_drive_kernel_equals_the_reference(rng, uneven):
    x = rng.standard_normal((6, 300)).astype(np.float32)
    load, rows = drive_load(8, 1), rng.uniform(1e-6, 1e-4, 300)
    levels = rng.uniform(0, 1, (300, 128)).astype(np.float32) if uneven else FLAT
    outputs = []
    for implementation in (read_kernels.drive_rows, reference.drive_rows):
        codes, squares, activity = np.empty_like(x), np.empty_like(x), np.empty(6)
        implementation(x, 2.5, 127, load, rows, levels, codes, squares, activity)
        outputs.append((codes, squares, activity))
    for fast, slow in zip(*outputs, strict=True):
        assert np.allclose(fast, slow, rtol=1e-5)


@pytest.mark.parametrize("noisy", [False, True])
def test_drive_kernel_of_whole_numbers_equals_the_reference(rng, noisy):
    x = rng.standard_normal((6, 300)).astype(np.float32)
    load, rows = drive_load(8, 1), rng.uniform(1e-6, 1e-4, 300)
    outputs = []
    for implementation in (read_kernels.drive_whole, reference.drive_whole):
        codes, activity = np.empty(x.shape, np.int8), np.empty(6)
        squares = np.empty((2, *x.shape) if noisy else (0, 0, 0), np.int8)
        implementation(x, 2.5, 127, load, rows, codes, squares, activity)
        outputs.append((codes, squares, activity))
    for fast, slow in zip(*outputs, strict=True):
        assert np.allclose(fast, slow, rtol=1e-5)
    if noisy:
        codes, squares, _ = outputs[0]
        assert np.array_equal(128 * squares[0].astype(int) + squares[1], codes.astype(int) ** 2)


def test_sums_of_few_vectors_are_products(rng):
    codes = rng.standard_normal((3, 75)).astype(np.float32)
    weights = rng.standard_normal((2, 75, 19)).astype(np.float32)
    out, slow = np.empty((2 * 3, 3, 19), np.float32), np.empty((2 * 3, 3, 19), np.float32)
    read_kernels.sum_few(codes, weights, 30, out)
    tiles = [slice(0, 30), slice(30, 60), slice(60, 75)]
    slow[:] = [codes[:, t] @ weights[s, t] for s in range(2) for t in tiles]
    assert np.allclose(out, slow, atol=1e-5)
    bits = to_bfloat16(weights)
    read_kernels.sum_few_bits(codes, bits, 30, out)
    wide = np.empty((2 * 75, 19), np.float32)
    read_kernels.widen(bits.reshape(-1, 19), wide)
    assert np.array_equal(wide.reshape(weights.shape), from_bfloat16(bits))
    slow[:] = [codes[:, t] @ from_bfloat16(bits)[s, t] for s in range(2) for t in tiles]
    assert np.allclose(out, slow, atol=1e-5)


def test_drive_load_of_a_bit_serial_dac_is_the_number_of_ones():
    assert drive_load(8, 1).tolist() == [bin(code).count("1") for code in range(128)]
    assert np.allclose(drive_load(8, 8), (np.arange(128) / 127) ** 2)
    assert drive_load(5, 2)[0b1110] == pytest.approx((2 / 3) ** 2 + 1)
    assert drive_load(5, 2, "pulses")[0b1110] == 3 + 2 and drive_load(5, 4, "pulses").tolist() == list(range(16))
    assert np.array_equal(drive_load(8, 1, "pulses"), drive_load(8, 1))


def test_best_range_keeps_uniform_data_whole_and_clips_outliers(rng):
    uniform = rng.uniform(-1, 1, 10000)
    assert best_range(uniform, 8) == pytest.approx(np.abs(uniform).max(), rel=0.06)
    spiky = np.append(rng.standard_normal(100000) * 0.1, 10.0)
    assert best_range(spiky, 4) < 5.0
    assert best_range(np.zeros(5), 8) == 1.0
    assert (code_max(8), code_max(1)) == (127, 1)


def test_converters_saturate_at_their_range(quiet, rng):
    model = program(quiet, {"w": matrix(rng)}, rng)
    with model.calibrating():
        model.matvec("w", rng.standard_normal((64, 200)))
    normal, huge = rng.standard_normal((1, 200)), 1e6 * np.ones((1, 200))
    model.matvec("w", normal)
    full_scale = model._ranges["w"][0]
    assert np.allclose(model.matvec("w", huge), model.matvec("w", full_scale * np.ones((1, 200))))


def test_a_matrix_that_is_read_several_times_is_set_for_all_inputs(reram, rng):
    """Layers that share a matrix, and a matrix that is read again, drive it with other numbers each time."""
    weight = rng.standard_normal((40, 60)).astype(np.float32)
    small = rng.standard_normal((300, 60)).astype(np.float32)
    model = program(reram, {"w": weight}, rng)
    with model.calibrating():
        model.matvec("w", small)
        model.matvec("w", 8 * small)
    exact = 8 * small @ model.effective_weight("w").T
    error = np.linalg.norm(model.matvec("w", 8 * small) - exact) / np.linalg.norm(exact)
    alone = program(reram, {"w": weight}, rng)
    with alone.calibrating():
        alone.matvec("w", small)
    cut = np.linalg.norm(alone.matvec("w", 8 * small) - exact) / np.linalg.norm(exact)
    assert error < 0.1
    assert cut > 0.5


def test_calibrating_reads_exactly_and_counts_nothing(reram, rng):
    model = program(reram, {"w": matrix(rng)}, rng)
    x = rng.standard_normal((9, 200)).astype(np.float32)
    with model.calibrating():
        y = model.matvec("w", x)
    assert np.allclose(y, x @ model.effective_weight("w").T, atol=1e-5)
    assert model.counts.reads == 0 and model.counts.cell_read_joules == 0


def test_bit_slices_add_up(quiet, rng):
    sliced = dataclasses.replace(
        quiet,
        cell=dataclasses.replace(quiet.cell, levels=4),
        array=dataclasses.replace(quiet.array, slices=4),
        periphery=dataclasses.replace(quiet.periphery, adc_bits=14),
    )
    weight, x = matrix(rng), rng.standard_normal((20, 200)).astype(np.float32)
    one = program(dataclasses.replace(sliced, array=dataclasses.replace(sliced.array, slices=1)), {"w": weight}, rng)
    four = program(sliced, {"w": weight}, rng)
    error = [np.abs(m.effective_weight("w") - weight).mean() for m in (one, four)]
    assert error[1] < 0.25 * error[0]
    assert four.matrix("w").layout.cells == 4 * one.matrix("w").layout.cells
    held = x @ four.effective_weight("w").T
    assert np.linalg.norm(four.matvec("w", x) - held) / np.linalg.norm(held) < 0.03


def test_unknown_names_and_wrong_lengths_are_refused(reram, rng):
    model = program(reram, {"query": matrix(rng)}, rng)
    with pytest.raises(UsageError, match="did you mean 'query'"):
        model.matvec("qery", np.ones(200))
    with pytest.raises(UsageError, match="length 200"):
        model.matvec("query", np.ones(199))
    with pytest.raises(UsageError, match="fidelity"):
        program(reram, {"w": matrix(rng)}, rng, fidelity="exact")
    with pytest.raises(UsageError, match="on the chip already"):
        model.add("query", matrix(rng))


def test_zeros_do_not_calibrate_and_what_is_not_finite_is_refused(reram, rng):
    weight = matrix(rng)
    model = program(reram, {"w": weight}, rng)
    model.matvec("w", np.zeros(200))
    x = 100 * rng.standard_normal((20, 200))
    assert np.linalg.norm(model.matvec("w", x) - x @ weight.T) < 0.6 * np.linalg.norm(x @ weight.T)
    with pytest.raises(UsageError, match="NaN"):
        model.matvec("w", np.full(200, np.nan))


@pytest.mark.parametrize("fidelity", ["fast", "bitserial"])
@pytest.mark.parametrize("name", ["reram", "reram-harsh", "reram-milo"])
def test_the_size_of_inputs_is_a_factor_of_results(name, fidelity, rng):
    """Powers of two change no digit of a float: the same codes, noise and energy, and results times the power."""
    weight, x = 0.02 * rng.standard_normal((16, 40)), rng.standard_normal((8, 40)).astype(np.float32)

    def read(power):
        model = program(load_chip(name), {"w": weight}, np.random.default_rng(1), fidelity)
        return model, model.matvec("w", np.ldexp(x, power)).astype(float), model.counts.cell_read_joules

    def cut(model):
        """Beyond the range inputs are cut off, however large."""
        return model.matvec("w", 1e35 * np.sign(x)).astype(float)

    first, wanted, joules = read(0)
    clipped = cut(first)
    assert np.abs(wanted).max() > 0.1
    for power in (-97, -60, 60, 96):
        model, y, spent = read(power)
        assert np.array_equal(np.ldexp(y, -power), wanted) and spent == pytest.approx(joules, rel=1e-12)
        assert np.array_equal(np.ldexp(cut(model), -power), clipped)
    for power in (-103, -120, -140):  # less than 1e-30 is nothing, as it is in weights
        model, y, spent = read(power)
        assert np.isfinite(y).all() and spent < 1e-2 * joules
        nothing = program(load_chip(name), {"w": weight}, np.random.default_rng(1), fidelity)
        assert np.array_equal(y, nothing.matvec("w", 0 * x))
    with pytest.raises(UsageError, match=r"'w' go up to .* 1e\+30"):
        read(101)
