"""Drift compensation against closed forms, what it costs, and what writes and the clock do to it."""

import dataclasses

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import CostTable, program
from edge_adapt.simulator.compensation import PROBES, factors, probes
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
    share = (before.astype(float) ** 2).sum(0)
    assert np.allclose(factors(before, share, before * lost, "column"), 1 / lost, rtol=1e-6)
    assert np.allclose(factors(before, share, before * lost, "matrix"), share.sum() / (share * lost).sum(), rtol=1e-6)


def test_an_output_without_weight_takes_the_factor_of_the_others():
    before = np.random.default_rng(0).standard_normal((PROBES, 4)).astype(np.float32)
    before[:, 2] = 0.0
    now = before * np.float32(0.5)
    now[:, 2] = 0.3  # noise of a read
    share = (before.astype(float) ** 2).sum(0)
    assert np.allclose(factors(before, share, now, "column"), 2.0)
    share[2] = -0.1  # of the noise of two reads
    assert np.allclose(factors(before, share, now, "column"), 2.0, rtol=0.01)
    assert (factors(np.zeros_like(before), np.zeros(4), now, "column") == 1.0).all()
    assert (factors(before, share, -before, "matrix") == 1.0).all(), "a factor is never negative"


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
    assert fork.counts.reads == 3 * PROBES and second.counts.reads == 0


def test_every_read_is_counted_and_no_cell_written():
    model = model_of("matrix", weights())
    model.set_time(DAY)
    matrix, chip = model.matrix("w"), model.chip
    one = read_events(chip, matrix.layout, input_cycles(chip))
    first = dataclasses.replace(model.counts)
    assert first.read_conversions == 3 * PROBES * one.read_conversions
    assert first.digital_macs == 3 * PROBES * 70 and first.cells_written == 0
    # Inputs of one size: every cell conducts in all cycles, at full drive.
    now, then = matrix.row_siemens.sum(), matrix_at(model, 0.0).row_siemens.sum()
    volts, seconds = chip.cell.read_voltage_volts, chip.integration_seconds
    assert first.cell_read_joules == pytest.approx((now + 2 * then) * PROBES * input_cycles(chip) * volts**2 * seconds)
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


def test_a_refresh_starts_anew():
    weight = weights()
    model = model_of("matrix", weight)
    model.set_time(DAY)
    model.rewrite("w", weight, refresh=True)
    assert model.matrix("w").drift_factor is None
    reads = model.counts.reads
    model.set_time(2 * DAY)
    assert model.counts.reads - reads == 3 * PROBES
    # A day after the refresh, and not two after the first write.
    fresh = model_of("matrix", weight)
    fresh.set_time(DAY)
    assert model.matrix("w").drift_factor[0] == pytest.approx(fresh.matrix("w").drift_factor[0], rel=0.02)


def test_a_write_that_changes_nothing_leaves_the_factor_alone():
    """Held against the same chip without the write: then, and a day later."""
    weight, x = weights(), np.random.default_rng(2).standard_normal((5, 150))
    models = [model_of("column", weight) for _ in range(2)]
    for model in models:
        model.set_time(30 * DAY)
    reads = models[0].counts.reads
    assert models[0].rewrite("w", weight).pulses.sum() == 0
    assert models[0].counts.reads == reads
    for seconds in (30 * DAY, 31 * DAY):
        for model in models:
            model.set_time(seconds)
        assert np.array_equal(*(model.matrix("w").drift_factor for model in models))
        assert np.array_equal(*(model.matvec("w", x) for model in models))
    assert models[0].counts.reads == models[1].counts.reads


@pytest.mark.parametrize("share", [0.0001, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("per", ["matrix", "column"])
def test_a_write_of_some_weights_keeps_what_the_others_lost(per, share):
    """The factor is the best one for the conductances there are: least squares of the weights themselves, no reads."""
    weight = weights(128, 256)
    model, bare = model_of(per, weight), model_of("none", weight)
    for m in (model, bare):
        m.set_time(30 * DAY)
    some = np.random.default_rng(3).permutation(weight.size).reshape(weight.shape) < max(1, share * weight.size)
    mixed, reads = np.where(some, weights(128, 256, 9), weight), model.counts.reads
    for m in (model, bare):
        m.rewrite("w", mixed)
    assert model.counts.reads - reads == PROBES
    for seconds in (30 * DAY, 60 * DAY):
        for m in (model, bare):
            m.set_time(seconds)
        axis = 1 if per == "column" else None
        held = bare.effective_weight("w").astype(float)
        best = (mixed * mixed).sum(axis) / (mixed * held).sum(axis)
        assert np.allclose(model.matrix("w").drift_factor, best, rtol=0.02 if per == "matrix" else 0.25)
        assert np.mean(model.matrix("w").drift_factor / best) == pytest.approx(1.0, abs=0.02)
        if share < 0.1:
            assert np.abs(model.effective_weight("w") - mixed).mean() <= 0.55 * np.abs(held - mixed).mean()


def test_weights_in_place_of_zeros_are_read_in_their_own_range():
    """What was first read, and the converters set to, was nothing at all."""
    model = model_of("matrix", np.zeros((70, 150), np.float32))
    model.set_time(30 * DAY)
    model.rewrite("w", weights())
    fresh = model_of("none", weights())
    for seconds in (30 * DAY, 60 * DAY):
        model.set_time(seconds)
        fresh.set_time(seconds - 30 * DAY)
        held = fresh.effective_weight("w").astype(float)
        best = (weights() ** 2).sum() / (weights() * held).sum()
        assert model.matrix("w").drift_factor[0] == pytest.approx(best, rel=0.03)


def test_the_first_results_follow_the_weights_that_were_written():
    """What is added is what the weights, and not the cells, give for the probes; without noise, squares are squares."""
    weight = weights()
    still = {"drift.t0": "null", "drift.exponent_coefficients": "null", "drift.exponent_limits": "null",
             "drift.exponent_sigma_coefficients": "null", "drift.exponent_sigma_limits": "null"}  # fmt: skip
    model = model_of("column", weight, QUIET | FINE | still)
    model.set_time(DAY)
    matrix = model.matrix("w")
    first, rows = matrix.baseline.mean, probes(matrix).astype(float)
    step = matrix.scale[np.arange(150) // matrix.layout.rows] / matrix.layout.magnitude_max
    began = matrix.integers * step
    for seed in (5, 6):
        weight = np.where(np.random.default_rng(seed).random(weight.shape) < 0.2, weights(seed=seed), weight)
        model.rewrite("w", weight)
        base = matrix.baseline
        assert np.allclose(base.mean, first + rows @ (matrix.integers * step - began), atol=1e-4)
        assert np.allclose(base.squares, (base.mean.astype(float) ** 2).sum(0), rtol=1e-4)
        assert matrix.drift_factor.mean() == pytest.approx(1.0, abs=0.01) and matrix.drift_factor.std() < 0.03


@pytest.mark.parametrize("noise", ["5 %", "20 %", "50 %"])
def test_read_noise_makes_no_factor_larger(noise):
    """Nothing drifts: the mean factor of many chips is 1, within four standard errors."""
    still = {"drift.t0": "null", "drift.exponent_coefficients": "null", "drift.exponent_limits": "null",
             "drift.exponent_sigma_coefficients": "null", "drift.exponent_sigma_limits": "null"}  # fmt: skip
    chip = load_chip("pcm", {"array.drift_compensation": "matrix", "read.noise": noise} | QUIET | still)
    found = []
    for seed in range(30):
        model = program(chip, {"w": weights(32, 64)}, np.random.default_rng(seed))
        model.set_time(DAY)
        found.append(float(model.matrix("w").drift_factor[0]))
    assert np.mean(found) == pytest.approx(1.0, abs=4 * np.std(found) / np.sqrt(len(found)))
    assert np.std(found) < 0.04


def test_each_chip_pays_for_its_own_time_and_for_no_turns():
    """Held against chips that are alone."""

    def fresh():
        return model_of("matrix", weights())

    alone = fresh()
    alone.set_time(DAY)
    first = alone.counts.as_dict()
    alone.set_time(2 * DAY)
    model = fresh()
    fork = model.fork(np.random.default_rng(3))
    for one in (fork, model):
        one.set_time(DAY)
        assert one.counts.as_dict() == first
    later = model.fork(np.random.default_rng(4))
    for one in (later, fork):
        one.set_time(2 * DAY)
    assert later.counts.reads == PROBES
    assert fork.counts.as_dict() == alone.counts.as_dict()
    for _ in range(3):
        for one in (model, fork):
            before = one.counts.reads
            one.matvec("w", np.ones(150))
            assert one.counts.reads == before + 1
    assert np.array_equal(fork.matrix("w").drift_factor, alone.matrix("w").drift_factor)
    model.set_time(DAY)
    assert model.counts.reads == 3 * PROBES + 3, "no time has passed"


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
