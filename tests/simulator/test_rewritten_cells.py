"""Cells that are written again: those that verify leaves alone, and how old many writes leave the others."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import cells, program
from edge_adapt.simulator.retention import aging

DAY = 86225.0
SOUND = {"faults.stuck_low": "null", "faults.stuck_high": "null"}


def weights(seed, shape=(100, 100)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", ["reram", "pcm"])
def test_a_cell_that_took_no_pulse_goes_on_as_if_nothing_was_written(name):
    """Held against a chip that was never rewritten: the same conductance then, and a month later, to the last bit."""
    written, left = (program(load_chip(name, SOUND), {"w": weights(3)}, np.random.default_rng(4)) for _ in range(2))
    for model in (written, left):
        model.set_time(DAY)
    matrix = written.matrix("w")
    old = matrix.target_siemens()
    written.rewrite("w", weights(5))
    target, untouched = matrix.target_siemens(), matrix.writes_since_deployment() == 0
    accepted = untouched & (old != target)
    assert accepted.sum() > 100
    reach = written.chip.cell.program_tolerance_siemens + (written.chip.cell.program_tolerance_relative or 0.0) * target
    now = left.matrix("w").conductance_siemens()
    assert (np.abs(now - target)[accepted] <= reach[accepted] * (1 + 1e-6)).all()
    for seconds in (DAY, 30 * DAY):
        for model in (written, left):
            model.set_time(seconds)
        assert np.array_equal(
            matrix.conductance_siemens()[untouched], left.matrix("w").conductance_siemens()[untouched]
        )


def test_pulsed_at_last_such_a_cell_ages_by_its_new_level():
    """Drift alone, without a spread: the closed form with the exponent of the level it was pulsed for."""
    alone = {"relaxation.points": "null", "drift.exponent_sigma_coefficients": "null",
             "drift.exponent_sigma_limits": "null"}  # fmt: skip
    model = program(load_chip("pcm", SOUND | alone), {"w": weights(3)}, np.random.default_rng(4))
    matrix = model.matrix("w")
    model.set_time(DAY)
    old = matrix.target_siemens()
    model.rewrite("w", weights(5))
    accepted = (matrix.writes_since_deployment() == 0) & (old != matrix.target_siemens())
    model.rewrite("w", weights(6))
    pulsed = accepted & (matrix.writes_since_deployment() == 1)
    assert pulsed.sum() > 100
    level = np.searchsorted(matrix.cells.levels, matrix.target_siemens()[pulsed] * (1 - 1e-6))
    state = aging(model.chip.cell, matrix.cells.levels, 30 * DAY)
    before = matrix.conductance_siemens()[pulsed]
    model.set_time(31 * DAY)
    lost = np.exp(-state.exponent_mean * state.log_time)[level]
    assert np.allclose(matrix.conductance_siemens()[pulsed], before * lost, rtol=1e-5)


def test_cells_left_alone_by_one_write_and_another():
    """One weight at a time or all at once: the cells that no write pulsed are where they would be without any."""
    written, left = (program(load_chip("reram", SOUND), {"w": weights(3)}, np.random.default_rng(4)) for _ in range(2))
    clone = written.fork(np.random.default_rng(1), own=("w",))
    for model in (written, left, clone):
        model.set_time(DAY)
    for seed in (5, 6, 7):
        some = np.random.default_rng(seed).random((100, 100)) < 0.3
        written.rewrite("w", np.where(some, weights(seed), weights(3)))
    clone.rewrite("w", weights(3), refresh=True)
    for model in (written, clone):
        untouched = model.matrix("w").writes_since_deployment() == 0
        now = model.matrix("w").conductance_siemens()
        assert 0 < untouched.mean() < 1
        assert np.array_equal(now[untouched], left.matrix("w").conductance_siemens()[untouched])


def test_many_writes_of_others_make_no_cell_older(monkeypatch):
    """More times of writing than are told apart: a cell is judged by its own."""
    monkeypatch.setattr(cells, "EPOCHS_MAX", 40)
    chip = load_chip("pcm", SOUND | {"relaxation.points": "null"})
    weight = weights(3, (8, 6))
    busy, calm = (program(chip, {"w": weight}, np.random.default_rng(4)) for _ in range(2))
    for model in (busy, calm):
        model.set_time(30 * DAY)
        model.rewrite("w", np.where(np.arange(8)[:, None] == 0, -weight, weight))
    first = busy.matrix("w").target_siemens()[..., 0]
    for k in range(1, 80):
        busy.set_time(30 * DAY + k)
        flip = np.where(np.arange(8)[:, None] == 0, -1.0, np.where(np.arange(8)[:, None] == 1, (-1.0) ** k, 1.0))
        busy.rewrite("w", weight * flip)
    assert len(busy.matrix("w").cells.epoch_seconds) == 40
    for seconds in (30 * DAY + 79, 60 * DAY):
        for model in (busy, calm):
            model.set_time(seconds)
        ours, theirs = (model.matrix("w").conductance_siemens() for model in (busy, calm))
        assert np.array_equal(busy.matrix("w").target_siemens()[..., 0], first)
        assert np.allclose(ours[..., 0], theirs[..., 0], rtol=1e-3)
        assert np.allclose(ours[..., 2:], theirs[..., 2:], rtol=1e-6), "written at deployment"


def test_times_of_writing_that_become_one_are_near_in_log_time(monkeypatch):
    """Writes over years, one weight each: what is taken for the age of a cell is that to within a few percent."""
    monkeypatch.setattr(cells, "EPOCHS_MAX", 100)
    rng = np.random.default_rng(0)
    weight = np.ones((15, 15), np.float32)
    model = program(load_chip("pcm", SOUND), {"w": weight}, np.random.default_rng(4))
    matrix = model.matrix("w")
    then = np.zeros((15, 15))
    at, now = rng.permutation(225), 0.0
    for n, step in enumerate(rng.lognormal(8.0, 3.0, 225)):
        now += step
        model.set_time(now)
        weight.reshape(-1)[at[n]] = -1.0
        model.rewrite("w", weight)
        then.reshape(-1)[at[n]] = now
    model.set_time(now + 1.0)
    _, epoch = matrix.cells.level_and_epoch(None)
    times = np.array(matrix.cells.epoch_seconds)
    # Both cells of a weight that turned were pulsed.
    judged = times[epoch].max((0, 1)).T
    error = np.log((now + 1.0 - judged + 1.0) / (now + 1.0 - then + 1.0))
    assert len(times) == 100 and np.abs(error).max() < 0.1
