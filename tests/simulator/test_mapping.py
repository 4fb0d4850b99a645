"""Weights to levels and back: the quantiser's error bound, sign, slices, and the counting of cells and arrays."""

import dataclasses

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.devices import list_presets
from edge_adapt.errors import UsageError
from edge_adapt.simulator import program
from edge_adapt.simulator.mapping import (
    CLIPPING,
    Layout,
    error_variance,
    fit_scale,
    integers,
    level_siemens,
    programming_variance,
    slice_gain,
    to_levels,
    weight_scale,
)
from edge_adapt.simulator.retention import relaxation_sigma
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

CHIP = load_chip("reram")
WEIGHTS = arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(-8, 8, width=32))


def chip_with(levels, slices, rows=4, columns=16, scale="column"):
    array = dataclasses.replace(CHIP.array, rows=rows, columns=columns, slices=slices, scale=scale)
    return dataclasses.replace(CHIP, cell=dataclasses.replace(CHIP.cell, levels=levels), array=array)


@settings(max_examples=150, deadline=None)
@given(
    WEIGHTS, st.sampled_from([(2, 1), (2, 7), (4, 2), (16, 1), (16, 2), (32, 1)]), st.sampled_from(["column", "tile"])
)
def test_levels_give_the_weights_back_within_half_a_step(weight, coding, per):
    chip = chip_with(*coding, scale=per)
    layout = Layout.of(chip, weight.shape)
    scale = weight_scale(weight, layout, per)
    level = to_levels(integers(weight, scale, layout), layout)
    assert level.max() < layout.levels
    assert not ((level[:, 0] > 0) & (level[:, 1] > 0)).any(), "one cell of a pair stays at g_min"
    pair = (level[:, 0].astype(float) - level[:, 1]) / (layout.levels - 1)
    tile = np.arange(layout.inputs) // layout.rows
    back = (pair * slice_gain(layout)[:, None, None]).sum(0) * scale[tile]
    step = scale[tile] / layout.magnitude_max
    assert (np.abs(back - weight.T) <= 0.5 * step * (1 + 1e-4) + 1e-30).all()


def test_counts_of_cells_and_arrays():
    layout = Layout.of(chip_with(16, 1, rows=128, columns=128), (384, 1536))
    assert (layout.outputs_per_array, layout.row_tiles, layout.column_tiles) == (64, 12, 6)
    assert layout.arrays == 72 and layout.cells == 2 * 384 * 1536
    sliced = Layout.of(chip_with(2, 7, rows=128, columns=128), (384, 1536))
    assert sliced.outputs_per_array == 9 and sliced.cells == 14 * 384 * 1536


def test_a_column_scale_is_shared_by_row_tiles_and_a_tile_scale_by_its_columns():
    weight = np.arange(1, 41, dtype=np.float32).reshape(5, 8)
    column = weight_scale(weight, Layout.of(chip_with(16, 1), weight.shape), "column")
    assert np.array_equal(column, np.tile(weight.max(1), (2, 1)))
    tile = weight_scale(weight, Layout.of(chip_with(16, 1, columns=4), weight.shape), "tile")
    assert tile[0].tolist() == [12, 12, 28, 28, 36] and tile[1].tolist() == [16, 16, 32, 32, 40]


def test_levels_are_spaced_evenly_over_the_window():
    siemens = level_siemens(CHIP)
    assert siemens[0] == CHIP.cell.g_min_siemens and siemens[-1] == pytest.approx(CHIP.cell.g_max_siemens)
    assert np.allclose(np.diff(siemens), np.diff(siemens)[0])


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3)])
def test_what_is_no_matrix_is_refused(shape):
    with pytest.raises(UsageError, match="matrices"):
        Layout.of(CHIP, shape)


def test_weights_that_are_not_finite_are_refused():
    layout = Layout.of(CHIP, (1, 2))
    with pytest.raises(UsageError, match="NaN"):
        integers(np.array([[np.nan, 1.0]], np.float32), np.ones((1, 1), np.float32), layout)


def expected_error(weight, scale, layout, variance):
    """Mean squared error by hand: saturation and rounding, and the cells' own."""
    tile = np.arange(layout.inputs) // layout.rows
    q = integers(weight, scale, layout)
    rounded = (q / layout.magnitude_max * scale[tile] - weight.T) ** 2
    return float((rounded + variance[q.astype(int) + layout.magnitude_max] * scale[tile].astype(float) ** 2).mean())


@pytest.mark.parametrize("per", ["column", "tile"])
def test_the_fitted_scale_has_the_least_expected_error(per):
    rng = np.random.default_rng(0)
    weight = rng.standard_t(3, (40, 200)).astype(np.float32)
    layout = Layout.of(chip_with(16, 1, rows=64, columns=32), weight.shape)
    variance = error_variance(CHIP, layout)
    fitted, full = fit_scale(weight, layout, per, variance), weight_scale(weight, layout, per)
    least = expected_error(weight, fitted, layout, variance)
    assert least < 0.9 * expected_error(weight, full, layout, variance), "heavy tails are cut off"
    assert all(
        least <= expected_error(weight, (share * full).astype(np.float32), layout, variance) for share in CLIPPING
    )


def test_without_outliers_and_noise_nothing_is_cut_off():
    rng = np.random.default_rng(0)
    weight = rng.uniform(-1, 1, (4, 400)).astype(np.float32)
    layout = Layout.of(chip_with(256, 1, rows=400), weight.shape)
    fitted = fit_scale(weight, layout, "column", np.zeros(2 * layout.magnitude_max + 1))
    assert np.allclose(fitted, np.abs(weight).max(1))


def test_error_variance_is_that_of_the_two_cells_of_a_pair():
    layout = Layout.of(chip_with(16, 1), (4, 4))
    sigma = relaxation_sigma(CHIP.cell, level_siemens(CHIP), 1.0)
    window = CHIP.cell.g_max_siemens - CHIP.cell.g_min_siemens
    left = programming_variance(CHIP.cell)
    by_hand = (np.maximum(sigma**2, left) + max(sigma[0] ** 2, left[0])) / window**2
    assert np.allclose(error_variance(CHIP, layout)[layout.magnitude_max :], by_hand)
    assert np.allclose(error_variance(CHIP, layout)[: layout.magnitude_max], by_hand[:0:-1])
    # Most cells end uniformly inside the tolerance; the erased level needs no pulse, failed cells add to the last one.
    assert left[0] == 0
    assert np.allclose(left[2:-2], CHIP.cell.program_tolerance_siemens**2 / 3, rtol=0.5)


def test_cells_that_are_written_exactly_lose_nothing_to_a_fitted_scale():
    chip = load_chip("sram")
    weight = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
    held = program(chip, {"w": weight}, np.random.default_rng(1)).effective_weight("w")
    step = np.abs(weight).max(1, keepdims=True) / (chip.cell.levels**chip.array.slices - 1)
    assert np.sqrt(np.mean((held - weight) ** 2)) < 0.35 * step.max()


@pytest.mark.parametrize("per", ["column", "tile"])
@pytest.mark.parametrize("mapping", ["differential", "offset"])
def test_the_fitted_scale_has_the_least_expected_error_of_all_shares(reram, rng, per, mapping):
    chip = dataclasses.replace(reram, array=dataclasses.replace(reram.array, mapping=mapping, scale=per))
    weight = (rng.standard_normal((150, 300)) ** rng.integers(1, 4, (150, 1))).astype(np.float32)
    layout = Layout.of(chip, weight.shape)
    variance, top = error_variance(chip, layout), layout.magnitude_max
    full, fitted = weight_scale(weight, layout, per), fit_scale(weight, layout, per, variance)

    def error(share):
        """By the sum's definition, for each weight in double precision; (row_tiles, outputs)."""
        found = np.zeros(full.shape)
        for i in range(layout.inputs):
            scale = full[i // layout.rows].astype(float) * share
            value = weight[:, i] / scale * top
            q = np.clip(np.rint(value), -top, top)
            found[i // layout.rows] += (((value - q) / top) ** 2 + variance[(q + top).astype(int)]) * scale**2
        if per == "column":
            return np.broadcast_to(found.sum(0), found.shape)
        each = layout.outputs_per_array
        starts = range(0, layout.outputs, each)
        return np.hstack([np.repeat(found[:, s : s + each].sum(1)[:, None], min(each, 150 - s), 1) for s in starts])

    errors = {share: error(share) for share in CLIPPING}
    chosen = np.rint(fitted / full * 100) / 100
    assert per == "tile" or len(np.unique(chosen)) > 1
    mine = np.select([chosen == share for share in CLIPPING], list(errors.values()))
    assert (mine <= np.min(list(errors.values()), axis=0) * (1 + 1e-5)).all()


def test_offset_columns_need_three_values(rng):
    chip = load_chip("reram", {"array.mapping": "offset", "conductance.levels": "2"})
    with pytest.raises(UsageError, match=r"array\.mapping offset needs 3 values.*array\.slices 1"):
        Layout.of(chip, (4, 4))
    Layout.of(load_chip("reram", {"array.mapping": "offset", "conductance.levels": "2", "array.slices": "2"}), (4, 4))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.full((2, 2), np.nan), "'w' holds NaN"),
        (np.ones((2, 2), complex), "'w' holds complex128 values"),
        (np.full((2, 2), "x"), "'w' holds <U1 values"),
    ],
)
def test_what_cells_cannot_hold_is_refused_by_name(reram, rng, weight, message):
    model = program(reram, {}, rng)
    with pytest.raises(UsageError, match=message):
        model.add("w", weight)


@pytest.mark.parametrize("seconds", [-1.0, np.nan, np.inf])
def test_a_clock_shows_finite_seconds(reram, rng, seconds):
    model = program(reram, {"w": np.eye(4)}, rng)
    with pytest.raises(UsageError, match="clock"):
        model.set_time(seconds)


@pytest.mark.parametrize("fidelity", ["ideal", "fast", "bitserial"])
@pytest.mark.parametrize("name", list_presets("chip"))
def test_weights_of_zero_read_as_exactly_zero_until_there_are_others(name, fidelity):
    rng = np.random.default_rng(1)
    x, weight = rng.standard_normal((3, 40)), np.zeros((30, 40), np.float32)
    model = program(load_chip(name), {"w": weight}, rng, fidelity)
    assert not model.matvec("w", x).any() and not model.effective_weight("w").any()
    model.set_time(100.0)
    assert not model.matvec("w", x).any()
    weight[3] = rng.standard_normal(40)
    model.rewrite("w", weight)
    y = model.matvec("w", x)
    assert np.isfinite(y).all() and y[:, 3].any() and not np.delete(y, 3, axis=1).any()
    weight[4] = 1e-3 * rng.standard_normal(40)
    model.rewrite("w", weight)
    error = model.effective_weight("w") - weight
    assert np.abs(error[3:5]).max(1) == pytest.approx(np.abs(weight[3:5]).max(1), rel=1.0), "a scale of its own"


def test_the_scale_of_weights_that_were_never_zero_stays(reram, rng):
    model = program(reram, {"w": rng.standard_normal((6, 40))}, rng)
    scale = model.matrix("w").scale.copy()
    model.rewrite("w", 3 * rng.standard_normal((6, 40)))
    assert np.array_equal(model.matrix("w").scale, scale)
    model.rewrite("w", np.zeros((6, 40)))
    assert np.array_equal(model.matrix("w").scale, scale)


@pytest.mark.parametrize(
    "scale", [np.ones((1, 5)), np.full((2, 6), np.nan), -np.ones((2, 6)), np.full((2, 6), "x"), 1.0]
)
def test_a_scale_that_is_none_is_refused(reram, rng, scale):
    chip = dataclasses.replace(reram, array=dataclasses.replace(reram.array, rows=20))
    model = program(chip, {}, rng)
    with pytest.raises(UsageError, match="scale must"):
        model.add("w", np.ones((6, 40)), scale)
