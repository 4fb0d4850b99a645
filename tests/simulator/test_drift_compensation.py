"""Drift compensation against closed forms, what it costs, and what a write and the clock do to it."""

import dataclasses

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import CostTable, program
from edge_adapt.simulator.compensation import PROBES, factors
from edge_adapt.simulator.counting import input_cycles, read_events
from edge_adapt.simulator.retention import aging

DAY = 86400.0
NU, T0 = 0.06, 20.0
QUIET = {"flicker.time": "null", "flicker.power": "null", "flicker.limits": "null", "relaxation.points": "null"}
ALIKE = {"drift.exponent_coefficients": f"[0, {NU}]", "drift.exponent_limits": f"[{NU}, {NU}]",
         "drift.exponent_sigma_coefficients": "null", "drift.exponent_sigma_limits": "null"}  # fmt: skip
FINE = {"adc.bits": "24", "adc.energy": "1 pJ", "adc.conversion_time": "1 ns", "shift_add.energy": "1 fJ",
        "adc.area": "1 um^2"}  # fmt: skip


def weights(outputs=70, inputs=150, seed=1):
    return np.random.default_rng(seed).standard_normal((outputs, inputs)).astype(np.float32)


def model_of(per, weight, settings=(), fidelity="fast"):
    chip = load_chip("pcm", {"array.drift_compensation": per} | dict(settings))
    return program(chip, {"w": weight}, np.random.default_rng(7), fidelity)


@pytest.mark.parametrize("per", ["matrix", "column"])
@pytest.mark.parametrize("age", [3600.0, 30 * DAY])
def test_drift_with_the_same_exponent_everywhere_is_undone(per, age):
    model = model_of(per, weights(), QUIET | ALIKE | FINE)
    before = model.effective_weight("w")
    model.set_time(age)
    matrix = model.matrix("w")
    assert np.allclose(matrix.drift_factor, ((age + T0) / T0) ** NU, rtol=1e-5)
    assert np.allclose(model.effective_weight("w"), before, rtol=2e-5, atol=1e-6)
    x = np.random.default_rng(2).standard_normal((5, 150)).astype(np.float32)
    assert np.allclose(model.matvec("w", x), x @ before.T, rtol=0.02, atol=0.02 * np.abs(x @ before.T).max())
    assert np.allclose(model.transposed_product("w", np.eye(70, dtype=np.float32)), before, rtol=2e-5, atol=1e-6)


def test_least_squares_of_each_output_and_of_all():
    rng = np.random.default_rng(0)
    before = rng.standard_normal((PROBES, 6)).astype(np.float32)
    lost = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0], np.float32)
    assert np.allclose(factors(before, before * lost, "column"), 1 / lost, rtol=1e-6)
    share = (before.astype(float) ** 2).sum(0)
    assert np.allclose(factors(before, before * lost, "matrix"), share.sum() / (share * lost).sum(), rtol=1e-6)


def test_an_output_without_weight_takes_the_factor_of_the_others():
    before = np.random.default_rng(0).standard_normal((PROBES, 4)).astype(np.float32)
    before[:, 2] = 0.0
    now = before * np.float32(0.5)
    now[:, 2] = 0.3  # noise of a read
    assert np.allclose(factors(before, now, "column"), 2.0)
    assert (factors(np.zeros_like(before), now, "column") == 1.0).all()
    assert (factors(before, -before, "matrix") == 1.0).all(), "a factor is never negative"


def test_of_the_published_cells_only_the_spread_is_left():
    """The factor is that of the mean loss of every level, E[exp(-nu L)] = exp(-mean L + (sigma L)^2 / 2)."""
    weight = weights(128, 256)
    plain, whole = model_of("none", weight), model_of("matrix", weight)
    error = lambda model: np.abs(model.effective_weight("w") - weight).mean() / np.abs(weight).mean()
    fresh = error(plain)
    for model in (plain, whole):
        model.set_time(30 * DAY)
    matrix = whole.matrix("w")
    state = aging(whole.chip.cell, matrix.cells.levels, 30 * DAY)
    mean, spread = state.exponent_mean * state.log_time, state.exponent_sigma * state.log_time
    level, _ = matrix.cells.level_and_epoch(None)
    then = matrix.target_siemens()
    now = then * np.exp(-mean + spread**2 / 2)[level]
    before, after = then[:, 0] - then[:, 1], now[:, 0] - now[:, 1]
    assert np.allclose(matrix.drift_factor, (before**2).sum() / (before * after).sum(), rtol=0.01)
    assert error(plain) > 4 * fresh
    assert error(whole) < 1.6 * fresh


def test_at_the_time_of_writing_it_changes_nothing_and_going_back_is_exact():
    weight, x = weights(), np.random.default_rng(2).standard_normal((5, 150))
    plain, whole = model_of("none", weight), model_of("column", weight)
    assert np.array_equal(plain.matvec("w", x), whole.matvec("w", x))
    whole.set_time(DAY)
    whole.set_time(0.0)
    assert whole.matrix("w").drift_factor is None
    assert np.array_equal(plain.effective_weight("w"), whole.effective_weight("w"))


def test_a_factor_depends_on_the_time_alone():
    first, second = model_of("column", weights()), model_of("column", weights())
    first.set_time(3600.0)
    first.matvec("w", np.ones(150))
    first.set_time(DAY)
    fork = second.fork(np.random.default_rng(3), ("w",))
    fork.set_time(DAY)
    assert np.array_equal(first.matrix("w").drift_factor, fork.matrix("w").drift_factor)
    assert second.matrix("w").drift_factor is None
    assert fork.counts.reads == 2 * PROBES and second.counts.reads == 0


def test_every_read_is_counted_and_no_cell_written():
    model = model_of("matrix", weights())
    model.set_time(DAY)
    matrix, chip = model.matrix("w"), model.chip
    one = read_events(chip, matrix.layout, input_cycles(chip))
    first = dataclasses.replace(model.counts)
    assert first.read_conversions == 2 * PROBES * one.read_conversions
    assert first.digital_macs == 2 * PROBES * 70 and first.cells_written == 0
    # Inputs of one size: every cell conducts in all cycles, at full drive.
    now, then = matrix.row_siemens.sum(), matrix_at(model, 0.0).row_siemens.sum()
    volts, seconds = chip.cell.read_voltage_volts, chip.cell.read_seconds
    assert first.cell_read_joules == pytest.approx((now + then) * PROBES * input_cycles(chip) * volts**2 * seconds)
    model.set_time(2 * DAY)
    assert model.counts.minus(first).reads == PROBES
    cost = CostTable.of(chip).cost(first)
    assert cost.joules["adc"] == pytest.approx(first.read_conversions * chip.periphery.adc_energy_joules)
    assert cost.joules["cells_write"] == 0 and cost.total_seconds > 0


def matrix_at(model, seconds):
    """The matrix at another time, on a chip of its own."""
    twin = model.fork(np.random.default_rng(0), ("w",))
    twin.set_time(seconds)
    return twin.matrix("w")


def test_a_write_starts_anew():
    weight = weights()
    model = model_of("matrix", weight)
    model.set_time(DAY)
    model.rewrite("w", weight, refresh=True)
    assert model.matrix("w").drift_factor is None
    reads = model.counts.reads
    model.set_time(2 * DAY)
    assert model.counts.reads - reads == 2 * PROBES
    # A day after the refresh, and not two after the first write.
    fresh = model_of("matrix", weight)
    fresh.set_time(DAY)
    assert model.matrix("w").drift_factor[0] == pytest.approx(fresh.matrix("w").drift_factor[0], rel=0.02)


@pytest.mark.parametrize(("per", "fidelity"), [("none", "fast"), ("matrix", "ideal")])
def test_where_there_is_none_nothing_is_read(per, fidelity):
    model = model_of(per, weights(), fidelity=fidelity)
    model.set_time(DAY)
    assert model.matrix("w").drift_factor is None and model.counts.reads == 0


def test_bit_by_bit_inputs_are_compensated_too():
    weight = weights()
    model = model_of("matrix", weight, fidelity="bitserial")
    model.set_time(30 * DAY)
    direct = model_of("matrix", weight)
    direct.set_time(30 * DAY)
    assert model.matrix("w").drift_factor[0] == pytest.approx(direct.matrix("w").drift_factor[0], rel=0.02)
