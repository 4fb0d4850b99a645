"""Program-and-verify against closed forms, the plain-numpy reference and the published pulse counts."""

import dataclasses
import math

import numba
import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.simulator import program_cells, reference
from hypothesis import given, settings
from hypothesis import strategies as st

CELL = load_chip("reram").cell
PLAIN = dataclasses.replace(
    CELL, cycle_to_cycle_sigma=0.0, cell_to_cell_sigma=0.0, pulse_step_growth=0.0, access_ohms=None
)


def test_without_variation_the_pulse_count_is_the_distance_over_the_step():
    step, tolerance = PLAIN.pulse_step_siemens, PLAIN.program_tolerance_siemens
    target = PLAIN.g_min_siemens + step * np.arange(8)
    conductance, log = program_cells(target, PLAIN, np.random.default_rng(0))
    needed = [max(0, math.ceil((k * step - tolerance) / step - 1e-9)) for k in range(8)]
    assert log.pulses.tolist() == needed
    assert np.allclose(conductance, PLAIN.g_min_siemens + step * np.array(needed))


def test_energy_of_one_pulse_is_v_squared_g_t_plus_the_verify_reads():
    target = np.array([PLAIN.g_min_siemens + PLAIN.pulse_step_siemens])
    conductance, log = program_cells(target, PLAIN, np.random.default_rng(0), line_farads=3e-15)
    assert log.pulses.tolist() == [1]
    low, high = PLAIN.g_min_siemens, float(conductance[0])
    pulse = PLAIN.set_voltage_volts**2 * 0.5 * (low + high) * PLAIN.set_pulse_seconds
    verify = PLAIN.read_voltage_volts**2 * (low + high) * PLAIN.read_seconds
    line = 3e-15 * PLAIN.set_voltage_volts**2
    assert log.cell_joules == pytest.approx(pulse)
    assert log.verify_joules == pytest.approx(verify)
    assert log.line_joules == pytest.approx(line)
    assert log.energy_joules == pytest.approx(pulse + verify + line)
    assert log.time_seconds == pytest.approx(PLAIN.set_pulse_seconds + 2 * PLAIN.read_seconds, rel=1e-6)


def test_voltage_steps_up_pulse_by_pulse():
    target = np.array([PLAIN.g_min_siemens + 3 * PLAIN.pulse_step_siemens])
    _, log = program_cells(target, PLAIN, np.random.default_rng(0))
    g = PLAIN.g_min_siemens + PLAIN.pulse_step_siemens * np.arange(4)
    volts = PLAIN.set_voltage_volts + PLAIN.set_voltage_step_volts * np.arange(3)
    assert log.cell_joules == pytest.approx(float((volts**2 * (g[:3] + g[1:]) / 2).sum() * PLAIN.set_pulse_seconds))


def test_a_fixed_energy_per_pulse_replaces_the_formula():
    fixed = dataclasses.replace(PLAIN, set_energy_joules=7e-12)
    _, log = program_cells(
        np.array([PLAIN.g_min_siemens + 2 * PLAIN.pulse_step_siemens]), fixed, np.random.default_rng(0)
    )
    assert log.cell_joules == pytest.approx(int(log.pulses.sum()) * 7e-12)


def test_going_down_uses_reset_pulses():
    start = np.full(5, PLAIN.g_max_siemens)
    _, log = program_cells(np.full(5, PLAIN.g_min_siemens + 1e-6), PLAIN, np.random.default_rng(0), start)
    assert log.set_pulses <= 5 < log.reset_pulses


def test_a_cell_in_tolerance_costs_one_verify_read_and_no_pulse():
    state = np.linspace(CELL.g_min_siemens, CELL.g_max_siemens, 64)
    conductance, log = program_cells(state, CELL, np.random.default_rng(0), state)
    assert np.array_equal(conductance, state)
    assert log.pulses.sum() == 0 and log.cell_joules == 0 and log.verifies == 64
    assert log.energy_joules == pytest.approx(CELL.read_voltage_volts**2 * state.sum() * CELL.read_seconds)


def test_a_small_change_costs_fewer_pulses_than_a_write_from_erased():
    target = np.random.default_rng(1).uniform(CELL.g_min_siemens, CELL.g_max_siemens, (64, 64))
    state, first = program_cells(target, CELL, np.random.default_rng(2))
    nudged = np.clip(target + 1.5 * CELL.program_tolerance_siemens, CELL.g_min_siemens, CELL.g_max_siemens)
    _, again = program_cells(nudged, CELL, np.random.default_rng(3), state)
    assert 0 < again.pulses.sum() < 0.5 * first.pulses.sum()
    assert again.energy_joules < 0.5 * first.energy_joules


@pytest.mark.parametrize("across", ["path", "cell"])
def test_pulses_take_volts_times_amperes_through_the_access_device(across):
    """Pulse by pulse by hand: a staircase up, with 15 kohm in series."""
    ohms = 15e3
    cell = dataclasses.replace(PLAIN, access_ohms=ohms, voltage_across=across)
    _, log = program_cells(
        np.array([PLAIN.g_min_siemens + 3 * PLAIN.pulse_step_siemens]), cell, np.random.default_rng(0)
    )
    g = PLAIN.g_min_siemens + PLAIN.pulse_step_siemens * np.arange(4)
    own = drawn = 0.0
    for k in range(3):
        volts = PLAIN.set_voltage_volts + k * PLAIN.set_voltage_step_volts
        for conductance in (g[k], g[k + 1]):  # half of the pulse each
            if across == "path":  # of both in series
                bare = 1.0 / conductance - ohms
                current, supply = volts / (bare + ohms), volts
            else:
                bare = 1.0 / conductance
                current = volts / bare
                supply = volts + current * ohms
            own += 0.5 * current**2 * bare * cell.set_pulse_seconds
            drawn += 0.5 * supply * current * cell.set_pulse_seconds
    assert log.cell_joules == pytest.approx(own)
    assert log.cell_joules + log.access_joules == pytest.approx(drawn)
    assert log.energy_joules == pytest.approx(drawn + log.verify_joules)


def test_without_an_access_device_the_cell_takes_everything():
    """And with one in a path whose conductance is of both, the sum is the same."""
    target = np.random.default_rng(1).uniform(CELL.g_min_siemens, CELL.g_max_siemens, (20, 64))
    bare = dataclasses.replace(CELL, access_ohms=None)
    (one, with_it), (other, without) = (program_cells(target, c, np.random.default_rng(4)) for c in (CELL, bare))
    assert np.array_equal(one, other) and without.access_joules == 0.0 < with_it.access_joules
    assert with_it.cell_joules + with_it.access_joules == pytest.approx(without.cell_joules, rel=1e-12)


@pytest.mark.parametrize("across", ["path", "cell"])
def test_numba_and_reference_agree_cell_by_cell(across):
    CELL = dataclasses.replace(load_chip("reram").cell, voltage_across=across)
    target = np.random.default_rng(1).uniform(CELL.g_min_siemens, CELL.g_max_siemens, (20, 64))
    stuck = (np.random.default_rng(2).random(target.shape) < 0.05).astype(np.uint8)
    fast, log = program_cells(target, CELL, np.random.default_rng(4), stuck=stuck, line_farads=1e-15)
    slow, ref = program_cells(
        target, CELL, np.random.default_rng(4), stuck=stuck, line_farads=1e-15, implementation=reference.program_blocks
    )
    assert np.allclose(fast, slow, rtol=1e-12)
    assert np.array_equal(log.pulses, ref.pulses) and np.array_equal(log.failed, ref.failed)
    assert np.array_equal(log.sets, ref.sets) and log.sets.sum() == log.set_pulses
    for name in ("energy_joules", "cell_joules", "access_joules", "line_joules", "verify_joules", "time_seconds"):
        assert getattr(log, name) == pytest.approx(getattr(ref, name), rel=1e-9)
    assert (log.set_pulses, log.reset_pulses, log.verifies, log.reversals) == (
        ref.set_pulses, ref.reset_pulses, ref.verifies, ref.reversals
    )  # fmt: skip


def test_the_result_does_not_depend_on_the_number_of_threads():
    target = np.random.default_rng(1).uniform(CELL.g_min_siemens, CELL.g_max_siemens, (128, 96))
    results = []
    for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        numba.set_num_threads(threads)
        results.append(program_cells(target, CELL, np.random.default_rng(7)))
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    (a, log_a), (b, log_b) = results
    assert (
        np.array_equal(a, b)
        and log_a.energy_joules == log_b.energy_joules
        and np.array_equal(log_a.pulses, log_b.pulses)
    )


def test_reram_meets_the_published_pulse_statistics():
    """NeuRRAM: mean 8.52 pulses, 99 % of the cells converge (both unverified in the sources, see the cell file)."""
    target = np.random.default_rng(0).uniform(CELL.g_min_siemens, CELL.g_max_siemens, (400, 128))
    _, log = program_cells(target, CELL, np.random.default_rng(1))
    assert log.pulses.mean() == pytest.approx(CELL.pulses_mean_published, rel=0.03)
    assert 0.003 < log.failed.mean() < 0.02


def test_stuck_cells_take_every_pulse_and_fail():
    stuck = np.ones(4, np.uint8)
    state, log = program_cells(np.full(4, CELL.g_max_siemens), CELL, np.random.default_rng(0), stuck=stuck)
    assert log.failed.all() and (log.pulses == CELL.pulses_max).all()
    assert (state == CELL.g_min_siemens).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, CELL.g_max_siemens), min_size=1, max_size=40), st.integers(0, 2**32 - 1))
def test_whatever_the_targets_pulses_are_bounded_and_failure_means_out_of_tolerance(targets, seed):
    target = np.array(targets)
    state, log = program_cells(target, CELL, np.random.default_rng(seed))
    assert np.isfinite(state).all() and (state >= 0).all()
    assert log.pulses.max() <= CELL.pulses_max
    assert np.array_equal(log.failed, np.abs(state - target) > CELL.program_tolerance_siemens)
    assert log.set_pulses + log.reset_pulses == log.pulses.sum() == log.verifies - target.size
    assert log.energy_joules > 0 and log.time_seconds > 0


@pytest.mark.parametrize("bad", [np.array([np.nan]), np.array([-1e-6]), np.array([np.inf])])
def test_impossible_targets_are_refused(bad):
    with pytest.raises(UsageError, match="finite and not negative"):
        program_cells(bad, CELL, np.random.default_rng(0))


def test_a_wrong_initial_shape_is_refused():
    with pytest.raises(UsageError, match="shape"):
        program_cells(np.full(3, 1e-6), CELL, np.random.default_rng(0), np.full(4, 1e-6))


def test_a_cell_without_pulse_numbers_is_named():
    unknown = dataclasses.replace(CELL, set_voltage_volts=None)
    with pytest.raises(UsageError, match="set_voltage_volts"):
        program_cells(np.full(3, 1e-6), unknown, np.random.default_rng(0))


def test_the_order_of_the_initial_state_in_memory_does_not_matter():
    rng = np.random.default_rng(0)
    target, initial = rng.uniform(2e-6, 4e-5, (2, 6, 50))
    same = [program_cells(target, CELL, np.random.default_rng(1), state) for state in (initial, initial.copy("F"))]
    assert np.array_equal(same[0][0], same[1][0]) and np.abs(same[1][0] - target).mean() < 1e-6
