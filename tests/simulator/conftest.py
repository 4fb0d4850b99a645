"""Small chips for the simulator's tests: the shipped `reram` with effects switched off or changed one by one."""

import dataclasses

import numpy as np
import pytest
from edge_adapt import load_chip


@pytest.fixture(scope="session")
def reram():
    return load_chip("reram")


@pytest.fixture(scope="session")
def quiet(reram):
    """The same chip without noise, faults, relaxation and cell variation: what remains is quantisation."""
    return with_cell(
        reram, read_noise_relative=None, relaxation=(), stuck_low_fraction=0.0, stuck_high_fraction=0.0,
        cycle_to_cycle_sigma=0.0, cell_to_cell_sigma=0.0,
    )  # fmt: skip


def with_cell(chip, **changes):
    return dataclasses.replace(chip, cell=dataclasses.replace(chip.cell, **changes))


@pytest.fixture
def change_cell():
    return with_cell


@pytest.fixture
def rng():
    return np.random.default_rng(20240601)
