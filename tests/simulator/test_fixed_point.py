"""Reads in whole numbers: what is rounded and by how much, against products of the unrounded numbers in float64."""

import dataclasses

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import program
from edge_adapt.simulator.bfloat16 import from_bfloat16, to_bfloat16
from edge_adapt.simulator.fixed_point import LARGEST, fixed_point
from edge_adapt.simulator.products import Products
from edge_adapt.simulator.reading import Reader
from hypothesis import given, settings
from hypothesis import strategies as st


class WholeProducts(Products):
    """Numpy's products, of whole numbers too: on any processor."""

    whole = True


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 70), st.integers(1, 9), st.integers(1, 40),
    st.sampled_from([0.0, 1e-6, 1.0, 3.7]), st.integers(0, 2**32),
)  # fmt: skip
def test_numbers_are_rounded_by_half_a_step_and_variances_keep_their_sum(slices, inputs, sensed, rows, size, seed):
    rng = np.random.default_rng(seed)
    pairs = (size * rng.standard_normal((slices, inputs, sensed))).astype(np.float32)
    bits = to_bfloat16(rng.exponential(size, pairs.shape).astype(np.float32))
    fixed = fixed_point(pairs, bits, rows)
    tiles = -(-inputs // rows)
    whole = 128 * fixed.values[..., :sensed].astype(int) + fixed.values[..., sensed:]
    assert np.abs(whole).max() <= LARGEST and fixed.noise.min() >= 0
    for s in range(slices):
        for tile in range(tiles):
            part, c = slice(tile * rows, (tile + 1) * rows), s * tiles + tile
            assert fixed.steps[c] == pytest.approx(np.abs(pairs[s]).max() / LARGEST, rel=1e-6)
            assert (np.abs(whole[s, part] * fixed.steps[c] - pairs[s, part]) <= 0.501 * fixed.steps[c]).all()
            noise, held = from_bfloat16(bits[s, part]), fixed.noise[s, part] * fixed.noise_steps[c]
            assert (np.abs(held - noise) <= 1.01 * fixed.noise_steps[c]).all()
            assert (np.abs(held.sum(0) - noise.sum(0)) <= 0.51 * fixed.noise_steps[c] + 1e-5 * noise.sum(0)).all()
            assert fixed.noise_steps[c] == pytest.approx(noise.max(0) / 127, rel=1e-6)


def test_without_read_noise_there_is_none():
    assert fixed_point(np.ones((1, 4, 3), np.float32), np.empty((0, 0, 0), np.uint16), 4).noise.size == 0


@pytest.fixture(params=["reram", "pcm", "fefet", "sonos"])
def chip(request):
    return load_chip(request.param)


@pytest.mark.parametrize("slices", [1, 2])
def test_reads_in_whole_numbers_are_those_in_float32(chip, rng, slices):
    """The same noise is drawn. What differs is a step of a converter, where a sum lies on the edge of one."""
    chip = dataclasses.replace(chip, array=dataclasses.replace(chip.array, slices=slices))
    weight, x = rng.standard_normal((60, 300)).astype(np.float32), rng.standard_normal((32, 300)).astype(np.float32)
    found = []
    for products in (Products(), WholeProducts()):
        model = program(chip, {"w": weight}, np.random.default_rng(3))
        model.products = products
        with model.calibrating():
            model.matvec("w", x)
        found.append((model.matvec("w", x), model.counts))
    (plain, counts), (whole, whole_counts) = found
    assert counts.reads == whole_counts.reads
    assert counts.cell_read_joules == pytest.approx(whole_counts.cell_read_joules, rel=1e-6)
    steps = model.matrix("w").gains.max() * model._ranges["w"].dac * model._ranges["w"].adc.max() / 127
    off = np.abs(plain - whole)
    assert (off > 1e-4 * np.abs(plain).max()).mean() < 0.05 and off.max() < 2.01 * steps * slices


@pytest.mark.parametrize("power", [1, 3], ids=["gaussian", "few are large"])
def test_the_noise_is_as_strong_as_that_of_every_cell(rng, power):
    """The variances of all sums together within 0.5 %, of each within some percent rms; sums within 0.02 %."""
    chip = load_chip("reram")
    weight = (rng.standard_normal((60, 128)) ** power).astype(np.float32)
    x = (rng.standard_normal((64, 128)) ** power).astype(np.float32)
    matrix = program(chip, {"w": weight}, np.random.default_rng(1)).matrix("w")
    reader = Reader(chip, "fast", np.uint64(1))
    reader.products = WholeProducts()
    ranges, fixed = reader.find_ranges(matrix, x), matrix.fixed_point
    sums, squares = reader._whole_sums(matrix, fixed, x, ranges.dac, np.empty(64), 0)
    codes = np.clip(np.rint(x / np.float32(ranges.dac) * 127), -127, 127) / 127
    ratio = (128.0 * squares[0, 0] + squares[0, 1]) * fixed.noise_steps[0] / 127**2
    exact = codes**2 @ matrix.noise[0]
    assert ratio.sum() == pytest.approx(exact.sum(), rel=0.005)
    assert np.sqrt(((np.sqrt(ratio / exact) - 1) ** 2).mean()) < (0.01 if power == 1 else 0.1)
    sensed = matrix.layout.sensed
    found = (128.0 * sums[0, :, :sensed] + sums[0, :, sensed:]) * fixed.steps[0] / 127
    assert np.abs(found - codes @ matrix.pairs[0]).max() < 2e-4 * np.abs(found).max()


@pytest.mark.parametrize("unfit", ["wide inputs", "no converter", "fine converter", "drivers that differ"])
def test_chips_that_whole_numbers_do_not_fit_are_read_in_float32(unfit, rng):
    chip = load_chip("reram", {"dac.gain_sigma": "1 %"} if unfit == "drivers that differ" else {})
    if unfit == "wide inputs":
        chip = dataclasses.replace(chip, array=dataclasses.replace(chip.array, input_bits=9))
    if unfit == "no converter":
        chip = dataclasses.replace(chip, periphery=dataclasses.replace(chip.periphery, adc_bits=None))
    if unfit == "fine converter":
        chip = dataclasses.replace(chip, periphery=dataclasses.replace(chip.periphery, adc_bits=13))
    model = program(chip, {"w": rng.standard_normal((6, 40)).astype(np.float32)}, rng)
    model.products = WholeProducts()
    model.products.whole_sums = None  # calling it would fail
    assert np.isfinite(model.matvec("w", rng.standard_normal((9, 40)))).all()


def test_a_rewrite_is_read_anew(rng):
    chip = load_chip("reram")
    weight = rng.standard_normal((6, 40)).astype(np.float32)
    model = program(chip, {"w": weight}, np.random.default_rng(2))
    model.products = WholeProducts()
    x = rng.standard_normal((9, 40)).astype(np.float32)
    model.matvec("w", x)
    before = model.matrix("w").fixed_point.values.copy()
    weight[0, :3] = -weight[0, :3]
    model.rewrite("w", weight)
    after = model.matrix("w").fixed_point
    fresh = fixed_point(model.matrix("w").pairs, model.matrix("w").noise_bits, chip.array.rows)
    assert not np.array_equal(before, after.values)
    assert all(np.array_equal(a, b) for a, b in zip(after, fresh, strict=True))
    model.set_time(86400.0)
    assert not np.array_equal(model.matrix("w").fixed_point.values, after.values)
