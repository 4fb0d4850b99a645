"""Cells that die of writes: how many, when, what becomes of them, and what they cost."""

import dataclasses
import math

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import program
from edge_adapt.simulator.pulse_kernel import HEALTHY, WORN_OUT

TYPICAL, SPREAD = 12, 0.5


def chip_of(**changes):
    """Cells without any other fault or spread, which die after about a dozen writes."""
    chip = load_chip("reram")
    quiet = {"relaxation": (), "stuck_low_fraction": None, "stuck_high_fraction": None}
    wearing = {"endurance_writes": float(TYPICAL), "endurance_spread": SPREAD, "endurance_writes_min": None,
               "endurance_writes_max": None}  # fmt: skip
    return dataclasses.replace(chip, cell=dataclasses.replace(chip.cell, **quiet, **wearing, **changes))


def weights(turn, shape=(60, 120)):
    """Every weight changes its sign each turn: both cells of a pair get pulses."""
    return np.where(turn % 2, -1.0, 1.0) * np.random.default_rng(0).uniform(0.3, 1.0, shape)


def cycled(chip, turns):
    """A model that was written once and rewritten `turns` times; the stuck maps after each."""
    model = program(chip, {"w": weights(0)}, np.random.default_rng(1))
    maps = []
    for turn in range(1, turns + 1):
        model.rewrite("w", weights(turn))
        maps.append(model.matrix("w").stuck.copy())
    return model, maps


def expected_dead(writes):
    """Share of cells whose lognormal endurance is at most `writes`."""
    return 0.5 * (1.0 + math.erf(math.log(writes / TYPICAL) / (SPREAD * math.sqrt(2.0))))


def test_the_share_of_dead_cells_follows_the_lognormal_distribution():
    model, maps = cycled(chip_of(), 24)
    first = model.matrix("w").layout.cells
    plus_first = weights(0) > 0
    for turn in (4, 8, 12, 18, 24):
        dead = maps[turn - 1] == WORN_OUT
        # The plus cells were written before each turn that many times; the minus cells, erased at first, once less.
        plus, minus = dead[0, 0].mean(), dead[0, 1].mean()
        sigma = math.sqrt(0.25 / (first / 2))
        assert plus == pytest.approx(expected_dead(turn), abs=5 * sigma), turn
        assert minus == pytest.approx(expected_dead(turn - 1), abs=5 * sigma), turn
    assert plus_first.all()


def test_the_dead_stay_dead_and_stay_where_they_are():
    chip = chip_of(read_noise_relative=None)
    model = program(chip, {"w": weights(0)}, np.random.default_rng(1))
    held = dead = None
    for turn in range(1, 20):
        log = model.rewrite("w", weights(turn))
        matrix = model.matrix("w")
        now = matrix.stuck == WORN_OUT
        if dead is not None:
            assert now[dead].all()
            assert np.array_equal(matrix.conductance_siemens()[dead], held[dead])
        # Dead cells that are not where they should be took every pulse in vain, and count as failed.
        off = (
            np.abs(matrix.conductance_siemens() - matrix.target_siemens()) > chip.cell.program_tolerance_siemens * 1.001
        )
        wanted = (now & off).reshape(log.failed.shape)
        assert log.failed[wanted].all() and (log.pulses[wanted] == chip.cell.pulses_max).all()
        held, dead = matrix.conductance_siemens().copy(), now
    assert 0.6 < dead.mean() < 0.95


def test_death_shows_in_what_the_chip_computes():
    model, _ = cycled(chip_of(), 20)
    fresh = program(chip_of(), {"w": weights(20)}, np.random.default_rng(1))
    error = [np.abs(m.effective_weight("w") - weights(20)).mean() for m in (fresh, model)]
    assert error[1] > 3 * error[0]


def test_forks_have_cells_that_die_when_those_of_the_chip_would():
    model = program(chip_of(), {"w": weights(0)}, np.random.default_rng(1))
    forks = [model.fork(np.random.default_rng(seed), own=("w",)) for seed in (2, 3)]
    for fork in forks:
        for turn in range(1, 10):
            fork.rewrite("w", weights(turn))
    a, b = (fork.matrix("w").stuck for fork in forks)
    assert (a == WORN_OUT).any()
    # Pulses differ from fork to fork, endurance does not: which cells died differs only where one needed no pulse.
    assert np.mean(a != b) < 0.01
    assert (model.matrix("w").stuck == HEALTHY).all()


@pytest.mark.parametrize("changes", [{"endurance_spread": None}, {"endurance_writes": math.inf}])
def test_without_a_distribution_wear_is_only_counted(changes):
    chip = chip_of()
    chip = dataclasses.replace(chip, cell=dataclasses.replace(chip.cell, **changes))
    model, maps = cycled(chip, 30)
    assert (maps[-1] == HEALTHY).all()
    assert model.matrix("w").writes.max() >= 30
