"""Break-even, wear, pool fit and ratios against arithmetic done by hand."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import program
from edge_adapt.studies.amortise import break_even, wear, write_read_ratios

CHIP = load_chip("reram")


def record(method, placement, joules, steps, initial=0.0):
    return SimpleNamespace(method=method, placement=placement, write_energy_joules=joules, train_steps=steps,
                           initial_write_energy_joules=initial)  # fmt: skip


def test_break_even_is_the_pools_energy_over_that_of_a_task_and_a_step():
    rows = break_even(
        10.0,
        [
            record("lorafusion", "DIGITAL", 0.0, 40),
            record("lora", "NVM_TASK", 3.0, 40),
            record("lora", "NVM_STEP", 8.0, 40),
            record("lora", "NVM_STEP", 12.0, 60),
        ],
    )
    assert [(r.method, r.placement, r.tasks, r.steps) for r in rows] == [
        ("lora", "NVM_TASK", 4, None),
        ("lora", "NVM_STEP", 1, 50),
    ]


@pytest.mark.parametrize(
    ("pool", "steps"), [(10.0, 30), (4.0, 0), (3.0, 0), (4.1, 1)], ids=["after", "exactly", "by far", "just not"]
)
def test_steps_come_after_the_write_of_the_initial_values(pool, steps):
    """4 J of initial values and 40 steps of 0.2 J: of a pool of 10 J they leave 6 J, or 30 steps."""
    (row,) = break_even(pool, [record("lora", "NVM_STEP", 12.0, 40, initial=4.0)])
    assert (row.steps, row.write_energy_joules_per_step) == (steps, pytest.approx(0.2))
    assert row.initial_write_energy_joules == 4.0 and row.write_energy_joules_per_task == 12.0


def test_an_adaptation_without_steps_has_no_energy_of_a_step():
    (row,) = break_even(10.0, [record("lora", "NVM_STEP", 4.0, 0, initial=4.0)])
    assert (row.tasks, row.steps, row.write_energy_joules_per_step) == (3, None, None)


def test_wear_is_writes_over_endurance():
    share, tasks = wear(CHIP, 50)
    assert share == pytest.approx(50 / CHIP.cell.endurance_writes)
    assert tasks == pytest.approx(CHIP.cell.endurance_writes / 50)
    assert wear(CHIP, 0) == (0.0, None)
    for endurance, expected in ((math.inf, (0.0, None)), (None, (None, None))):
        chip = dataclasses.replace(CHIP, cell=dataclasses.replace(CHIP.cell, endurance_writes=endurance))
        assert wear(chip, 5) == expected


def test_write_to_read_ratios():
    model = program(CHIP, {"w": np.random.default_rng(0).normal(size=(40, 128))}, np.random.default_rng(1))
    log = model.write_log
    ratios = write_read_ratios(log, 1e-12)
    read = log.verify_joules / log.verifies
    assert ratios["cell_pulse"] == pytest.approx(log.cell_joules / (log.set_pulses + log.reset_pulses) / read)
    written = np.count_nonzero(log.pulses)
    assert ratios["cell_program_verify"] == pytest.approx((log.energy_joules - log.converter_joules) / written / read)
    assert ratios["array_with_converters"] == pytest.approx(log.energy_joules / log.pulses.size / 1e-12)
    assert ratios["cell_pulse"] < ratios["cell_program_verify"]


def test_a_chip_that_reads_for_nothing_has_no_ratio():
    log = SimpleNamespace(
        pulses=np.ones(1), cells_pulsed=1, set_pulses=1, reset_pulses=0, cell_joules=1.0, energy_joules=1.0,
        converter_joules=0.0, verify_joules=0.0, verifies=2,
    )  # fmt: skip
    assert write_read_ratios(log, 0.0) == dict.fromkeys(("cell_pulse", "cell_program_verify", "array_with_converters"))
